-- What is kept of runs that are over: archives, tombstones, and holds that keep both steps off. Then, as they look at that
-- too, the functions that write runs.

CREATE TABLE public.archives (
    tenant_id     text   COLLATE "C" NOT NULL,
    run_id        text   COLLATE "C" NOT NULL,
    run_no        bigint NOT NULL,
    leaves        text   NOT NULL,                -- leaf indexes of its events, in order: '12-14,20'
    bundle        bytea  NOT NULL,
    bundle_digest text   NOT NULL,
    archived_at   text   NOT NULL,
    PRIMARY KEY (tenant_id, run_id)
);

CREATE TABLE public.tombstones (
    tenant_id text   COLLATE "C" NOT NULL,
    run_id    text   COLLATE "C" NOT NULL,
    run_no    bigint NOT NULL,
    leaves    text   NOT NULL,
    seal      text   NOT NULL,
    run_root  text   NOT NULL,
    purged_at text   NOT NULL,
    PRIMARY KEY (tenant_id, run_id)
);

CREATE TABLE public.holds (
    tenant_id text   COLLATE "C" NOT NULL,
    run_id    text   COLLATE "C" NOT NULL,
    seq       bigint NOT NULL,                    -- of the event in the tenant's stream
    reason    text   NOT NULL,
    placed_at text   NOT NULL,
    lifted_at text,
    PRIMARY KEY (tenant_id, run_id, seq)
);

-- rules ------------------------------------------------------------------------------------------------------------

CREATE FUNCTION public.runproof_archives_insert() RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF EXISTS (SELECT 1 FROM public.tombstones t WHERE t.tenant_id = NEW.tenant_id AND t.run_id = NEW.run_id) THEN
        RAISE EXCEPTION USING ERRCODE = 'restrict_violation', TABLE = 'archives',
            MESSAGE = 'S6_IMMUTABILITY_VIOLATION: archives is append-only. INSERT rejected. The run is archived or purged.';
    END IF;
    IF NOT EXISTS (SELECT 1 FROM public.run_seals s WHERE s.tenant_id = NEW.tenant_id AND s.run_id = NEW.run_id) THEN
        RAISE EXCEPTION USING ERRCODE = 'restrict_violation', TABLE = 'archives',
            MESSAGE = 'archives: a run that is not over cannot be archived';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER archives_insert BEFORE INSERT ON public.archives FOR EACH ROW
    EXECUTE FUNCTION public.runproof_archives_insert();
CREATE TRIGGER archives_update BEFORE UPDATE ON public.archives FOR EACH ROW
    EXECUTE FUNCTION public.runproof_refuse('S6_IMMUTABILITY_VIOLATION: archives is append-only. UPDATE rejected.');
CREATE TRIGGER archives_truncate BEFORE TRUNCATE ON public.archives
    EXECUTE FUNCTION public.runproof_refuse('S6_IMMUTABILITY_VIOLATION: archives is append-only. TRUNCATE rejected.');

CREATE FUNCTION public.runproof_tombstones_insert() RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF NOT EXISTS (SELECT 1 FROM public.archives a WHERE a.tenant_id = NEW.tenant_id AND a.run_id = NEW.run_id) THEN
        RAISE EXCEPTION USING ERRCODE = 'restrict_violation', TABLE = 'tombstones',
            MESSAGE = 'tombstones: a run that is not archived cannot be purged';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER tombstones_insert BEFORE INSERT ON public.tombstones FOR EACH ROW
    EXECUTE FUNCTION public.runproof_tombstones_insert();
CREATE TRIGGER tombstones_update BEFORE UPDATE ON public.tombstones FOR EACH ROW
    EXECUTE FUNCTION public.runproof_refuse('S6_IMMUTABILITY_VIOLATION: tombstones is append-only. UPDATE rejected.');
CREATE TRIGGER tombstones_delete BEFORE DELETE ON public.tombstones FOR EACH ROW
    EXECUTE FUNCTION public.runproof_refuse('S6_IMMUTABILITY_VIOLATION: tombstones is append-only. DELETE rejected.');
CREATE TRIGGER tombstones_truncate BEFORE TRUNCATE ON public.tombstones
    EXECUTE FUNCTION public.runproof_refuse('S6_IMMUTABILITY_VIOLATION: tombstones is append-only. TRUNCATE rejected.');

CREATE FUNCTION public.runproof_holds_update() RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    allowed public.holds := OLD;
BEGIN
    allowed.lifted_at := NEW.lifted_at;
    IF OLD.lifted_at IS NOT NULL OR NEW.lifted_at IS NULL OR NEW IS DISTINCT FROM allowed THEN
        RAISE EXCEPTION USING ERRCODE = 'restrict_violation', TABLE = 'holds',
            MESSAGE = 'holds: a hold is lifted once, and nothing else of it changes';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER holds_update BEFORE UPDATE ON public.holds FOR EACH ROW EXECUTE FUNCTION public.runproof_holds_update();
CREATE TRIGGER holds_delete BEFORE DELETE ON public.holds FOR EACH ROW
    EXECUTE FUNCTION public.runproof_refuse('holds: direct DELETE not allowed');
CREATE TRIGGER holds_truncate BEFORE TRUNCATE ON public.holds
    EXECUTE FUNCTION public.runproof_refuse('holds: TRUNCATE not allowed');

-- Rows of a run may go while its archive is there, an archive while the tombstone is there, and nothing while a hold is on
-- the run. The first argument is the text of the refusal; two columns may be named in it.
CREATE FUNCTION public.runproof_remove() RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    v_row     jsonb := to_jsonb(OLD);
    v_run     text;
    v_is_kept boolean;
BEGIN
    v_run := CASE TG_TABLE_NAME
        WHEN 'runs' THEN v_row ->> 'id'
        WHEN 'transitions' THEN CASE WHEN v_row ->> 'stream' LIKE 'run/%' THEN substr(v_row ->> 'stream', 5) END
        ELSE v_row ->> 'run_id' END;
    IF TG_TABLE_NAME = 'archives' THEN
        v_is_kept := EXISTS (SELECT 1 FROM public.tombstones t WHERE t.tenant_id = OLD.tenant_id AND t.run_id = v_run);
    ELSE
        v_is_kept := EXISTS (SELECT 1 FROM public.archives a WHERE a.tenant_id = OLD.tenant_id AND a.run_id = v_run);
    END IF;
    IF v_is_kept AND NOT EXISTS (
        SELECT 1 FROM public.holds h WHERE h.tenant_id = OLD.tenant_id AND h.run_id = v_run AND h.lifted_at IS NULL)
    THEN
        RETURN OLD;
    END IF;
    RAISE EXCEPTION USING ERRCODE = 'restrict_violation', TABLE = TG_TABLE_NAME, MESSAGE = replace(replace(TG_ARGV[0],
        '{trace_id}', coalesce(v_row ->> 'trace_id', '')), '{step_index}', coalesce(v_row ->> 'step_index', ''));
END $$;
CREATE TRIGGER archives_delete BEFORE DELETE ON public.archives FOR EACH ROW
    EXECUTE FUNCTION public.runproof_remove('S6_IMMUTABILITY_VIOLATION: archives direct DELETE not allowed. Purge the run.');
DROP TRIGGER runs_delete ON public.runs;
CREATE TRIGGER runs_delete BEFORE DELETE ON public.runs FOR EACH ROW
    EXECUTE FUNCTION public.runproof_remove('runs: direct DELETE not allowed');
DROP TRIGGER aos_traces_delete ON public.aos_traces;
CREATE TRIGGER aos_traces_delete BEFORE DELETE ON public.aos_traces FOR EACH ROW
    EXECUTE FUNCTION public.runproof_remove('S6_IMMUTABILITY_VIOLATION: aos_traces direct DELETE not allowed. Archive first using cleanup_old_traces(). trace_id={trace_id}');
DROP TRIGGER aos_trace_steps_delete ON public.aos_trace_steps;
CREATE TRIGGER aos_trace_steps_delete BEFORE DELETE ON public.aos_trace_steps FOR EACH ROW
    EXECUTE FUNCTION public.runproof_remove('S6_IMMUTABILITY_VIOLATION: aos_trace_steps direct DELETE not allowed. Use archival. step_index={step_index} trace_id={trace_id}');
DROP TRIGGER transitions_delete ON public.transitions;
CREATE TRIGGER transitions_delete BEFORE DELETE ON public.transitions FOR EACH ROW
    EXECUTE FUNCTION public.runproof_remove('S6_IMMUTABILITY_VIOLATION: transitions is append-only. DELETE rejected.');
DROP TRIGGER run_seals_delete ON public.run_seals;
CREATE TRIGGER run_seals_delete BEFORE DELETE ON public.run_seals FOR EACH ROW
    EXECUTE FUNCTION public.runproof_remove('S6_IMMUTABILITY_VIOLATION: run_seals is append-only. DELETE rejected.');
DROP TRIGGER erasures_delete ON public.erasures;
CREATE TRIGGER erasures_delete BEFORE DELETE ON public.erasures FOR EACH ROW
    EXECUTE FUNCTION public.runproof_remove('erasures: direct DELETE not allowed');

-- who may do what --------------------------------------------------------------------------------------------------

-- As in 0003: engine and api see the tenants that the transaction set. Retention reads everything, and deletes of the
-- tenants that the transaction set.
DO $$
DECLARE
    v_table text;
BEGIN
    FOREACH v_table IN ARRAY ARRAY['archives', 'tombstones', 'holds'] LOOP
        EXECUTE format('ALTER TABLE public.%I ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY', v_table);
        EXECUTE format('CREATE POLICY of_tenants ON public.%I TO runproof_engine, runproof_api USING '
            '((tenant_id = ANY ((SELECT string_to_array(current_setting(''runproof.tenants'', true), '',''))::text[])) '
            'IS TRUE)', v_table);
        EXECUTE format('CREATE POLICY of_readers ON public.%I FOR SELECT TO runproof_auditor, runproof_retention '
            'USING (true)', v_table);
        EXECUTE format('CREATE POLICY of_owner ON public.%I TO %I USING (true)', v_table, current_user);
    END LOOP;
    FOREACH v_table IN ARRAY ARRAY['archives', 'transitions', 'run_seals', 'runs', 'aos_traces', 'aos_trace_steps',
        'erasures'] LOOP
        EXECUTE format('ALTER POLICY of_tenants ON public.%I TO runproof_engine, runproof_api, runproof_retention', v_table);
    END LOOP;
END $$;

REVOKE ALL ON public.archives, public.tombstones, public.holds FROM PUBLIC;
GRANT SELECT ON public.archives, public.tombstones, public.holds
    TO runproof_engine, runproof_api, runproof_auditor, runproof_retention;
GRANT INSERT ON public.archives, public.tombstones, public.holds TO runproof_engine;
GRANT UPDATE (lifted_at) ON public.holds TO runproof_engine;
GRANT UPDATE (archived_at) ON public.aos_traces, public.aos_trace_steps TO runproof_engine;
GRANT DELETE ON
    public.archives, public.transitions, public.run_seals, public.runs, public.aos_traces, public.aos_trace_steps,
    public.erasures
    TO runproof_retention;

REVOKE ALL ON FUNCTION
    public.runproof_archives_insert(), public.runproof_tombstones_insert(), public.runproof_holds_update(),
    public.runproof_remove()
    FROM PUBLIC;

-- writing ----------------------------------------------------------------------------------------------------------

-- What is written most often is written by functions: a pooler in transaction mode lets no statement of a client stay
-- prepared, but a function keeps its plans in every session. They run as whoever calls them, so row policies and column
-- rights hold. Rows come as arrays, one for each column, unnested side by side in a select list: in a FROM, each array would
-- be copied to a tuple store of its own first, 0.1 ms for 22 arrays. A signature that changes gets a new name,
-- so that versions can work side by side. They are here and not before, because an opening looks for archives.

-- Moves the heads of runs whose writer holds the claim and knows the head, and writes what follows for those only. One row
-- of the first arrays is one run; all that follows has the number of its run, from 1. Answers the numbers of the runs that
-- passed, and the last id of a transition. Nothing is joined but by keys.
CREATE FUNCTION public.runproof_append(
    tenant_ids text[], run_ids text[], owners text[], epochs bigint[], seqs bigint[], heads text[], next_seqs bigint[],
    next_heads text[], next_owners text[], wake_ats bigint[], are_over boolean[], event_counts bigint[], events text[],
    payloads text[],
    step_tenant_ids text[], step_trace_ids text[], step_indexes bigint[], step_run_ids text[], step_ids text[],
    step_items text[], step_plan_indexes bigint[], step_skill_ids text[], step_skill_names text[], step_statuses text[],
    step_outcome_categories text[], step_outcome_codes text[], step_costs bigint[], step_durations bigint[],
    step_retry_counts bigint[], step_idempotency_keys text[], step_sources text[], step_levels text[],
    step_are_synthetic bigint[], step_scenarios text[], step_timestamps text[], step_archived_ats text[],
    step_numbers bigint[],
    row_tenant_ids text[], row_run_ids text[], row_statuses text[], row_plans text[], row_plan_digests text[],
    row_attempts bigint[], row_wait_reasons text[], row_wait_refs text[], row_wait_sinces text[],
    row_termination_reasons text[], row_costs bigint[], row_durations bigint[], row_started_ats text[],
    row_completed_ats text[], row_numbers bigint[],
    trace_tenant_ids text[], trace_ids text[], trace_statuses text[], trace_completed_ats text[], trace_metadata text[],
    trace_numbers bigint[],
    seal_tenant_ids text[], seal_run_ids text[], seal_statuses text[], seal_reasons text[], seal_event_counts bigint[],
    seal_step_counts bigint[], seal_roots text[], seal_hashes text[], seal_attempts bigint[], seal_costs bigint[],
    seal_durations bigint[], seal_resolved bigint[], seal_unknown bigint[], seal_sealed_ats text[], seal_numbers bigint[],
    OUT passed bigint[], OUT last_id bigint)
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp SET plan_cache_mode = force_generic_plan SET jit = off SET enable_seqscan = off
SET enable_bitmapscan = off SET enable_hashjoin = off SET enable_mergejoin = off
AS $$
#variable_conflict use_column
BEGIN
    WITH t AS MATERIALIZED (
        SELECT
            unnest(tenant_ids) AS tenant_id, unnest(run_ids) AS run_id, unnest(owners) AS owner, unnest(epochs) AS epoch,
            unnest(seqs) AS seq, unnest(heads) AS head, unnest(next_seqs) AS next_seq, unnest(next_heads) AS next_head,
            unnest(next_owners) AS next_owner, unnest(wake_ats) AS wake_at, unnest(are_over) AS is_over,
            unnest(event_counts) AS event_count, unnest(events) AS lines, unnest(payloads) AS payload_lines,
            generate_subscripts(tenant_ids, 1) AS number
    ), ended AS (
        DELETE FROM public.run_queue AS q USING t
        WHERE t.is_over AND q.tenant_id = t.tenant_id AND q.run_id = t.run_id
          AND q.owner = t.owner AND q.epoch = t.epoch AND q.next_seq = t.seq AND q.head = t.head
        RETURNING t.number, t.tenant_id, t.run_id, t.seq, t.event_count, t.lines, t.payload_lines
    ), moved AS (
        UPDATE public.run_queue AS q
        SET owner = t.next_owner, wake_at = t.wake_at, next_seq = t.next_seq, head = t.next_head
        FROM t
        WHERE NOT t.is_over AND q.tenant_id = t.tenant_id AND q.run_id = t.run_id
          AND q.owner = t.owner AND q.epoch = t.epoch AND q.next_seq = t.seq AND q.head = t.head
        RETURNING t.number, t.tenant_id, t.run_id, t.seq, t.event_count, t.lines, t.payload_lines
    ), through AS MATERIALIZED (
        SELECT * FROM ended UNION ALL SELECT * FROM moved
    ), written AS (
        INSERT INTO public.transitions (tenant_id, stream, first_seq, event_count, events, payloads)
        SELECT g.tenant_id, 'run/' || g.run_id, g.seq, g.event_count, g.lines, g.payload_lines FROM through g
        WHERE g.event_count > 0
        RETURNING id
    )
    SELECT array_agg(g.number), (SELECT max(w.id) FROM written w) INTO passed, last_id FROM through g;

    IF cardinality(step_numbers) > 0 THEN
        INSERT INTO public.aos_trace_steps (
            tenant_id, trace_id, step_index, run_id, step_id, item, plan_index, skill_id, skill_name, status,
            outcome_category, outcome_code, cost_microcents, duration_us, retry_count, idempotency_key, source, level,
            is_synthetic, synthetic_scenario_id, "timestamp", archived_at)
        SELECT s.tenant_id, s.trace_id, s.step_index, s.run_id, s.step_id, s.item, s.plan_index, s.skill_id, s.skill_name,
            s.status, s.outcome_category, s.outcome_code, s.cost_microcents, s.duration_us, s.retry_count,
            s.idempotency_key, s.source, s.level, s.is_synthetic, s.scenario, s."timestamp", s.archived_at
        FROM (SELECT
            unnest(step_tenant_ids) AS tenant_id, unnest(step_trace_ids) AS trace_id,
            unnest(step_indexes) AS step_index, unnest(step_run_ids) AS run_id, unnest(step_ids) AS step_id,
            unnest(step_items) AS item, unnest(step_plan_indexes) AS plan_index, unnest(step_skill_ids) AS skill_id,
            unnest(step_skill_names) AS skill_name, unnest(step_statuses) AS status,
            unnest(step_outcome_categories) AS outcome_category, unnest(step_outcome_codes) AS outcome_code,
            unnest(step_costs) AS cost_microcents, unnest(step_durations) AS duration_us,
            unnest(step_retry_counts) AS retry_count, unnest(step_idempotency_keys) AS idempotency_key,
            unnest(step_sources) AS source, unnest(step_levels) AS level, unnest(step_are_synthetic) AS is_synthetic,
            unnest(step_scenarios) AS scenario, unnest(step_timestamps) AS "timestamp",
            unnest(step_archived_ats) AS archived_at, unnest(step_numbers) AS number
        ) AS s
        WHERE s.number = ANY (passed);
    END IF;
    IF cardinality(row_numbers) > 0 THEN
        UPDATE public.runs AS r SET
            status = n.status, plan_json = n.plan_json, plan_digest = n.plan_digest, attempts = n.attempts,
            wait_reason = n.wait_reason, wait_ref = n.wait_ref, wait_since = n.wait_since,
            termination_reason = n.termination_reason, cost_microcents = n.cost_microcents, duration_us = n.duration_us,
            started_at = n.started_at, completed_at = n.completed_at
        FROM (SELECT
            unnest(row_tenant_ids) AS tenant_id, unnest(row_run_ids) AS id, unnest(row_statuses) AS status,
            unnest(row_plans) AS plan_json, unnest(row_plan_digests) AS plan_digest, unnest(row_attempts) AS attempts,
            unnest(row_wait_reasons) AS wait_reason, unnest(row_wait_refs) AS wait_ref,
            unnest(row_wait_sinces) AS wait_since, unnest(row_termination_reasons) AS termination_reason,
            unnest(row_costs) AS cost_microcents, unnest(row_durations) AS duration_us,
            unnest(row_started_ats) AS started_at, unnest(row_completed_ats) AS completed_at,
            unnest(row_numbers) AS number
        ) AS n
        WHERE r.tenant_id = n.tenant_id AND r.id = n.id AND n.number = ANY (passed);
    END IF;
    IF cardinality(trace_numbers) > 0 THEN
        UPDATE public.aos_traces AS r SET status = n.status, completed_at = n.completed_at, metadata = n.metadata
        FROM (SELECT
            unnest(trace_tenant_ids) AS tenant_id, unnest(trace_ids) AS trace_id, unnest(trace_statuses) AS status,
            unnest(trace_completed_ats) AS completed_at, unnest(trace_metadata) AS metadata,
            unnest(trace_numbers) AS number
        ) AS n
        WHERE r.tenant_id = n.tenant_id AND r.trace_id = n.trace_id AND n.number = ANY (passed);
    END IF;
    IF cardinality(seal_numbers) > 0 THEN
        INSERT INTO public.run_seals (
            tenant_id, run_id, status, reason, event_count, step_count, run_root, seal_hash, attempts, cost_microcents,
            duration_us, resolved, unknown, sealed_at)
        SELECT s.tenant_id, s.run_id, s.status, s.reason, s.event_count, s.step_count, s.run_root, s.seal_hash, s.attempts,
            s.cost_microcents, s.duration_us, s.resolved, s.unknown, s.sealed_at
        FROM (SELECT
            unnest(seal_tenant_ids) AS tenant_id, unnest(seal_run_ids) AS run_id, unnest(seal_statuses) AS status,
            unnest(seal_reasons) AS reason, unnest(seal_event_counts) AS event_count,
            unnest(seal_step_counts) AS step_count, unnest(seal_roots) AS run_root, unnest(seal_hashes) AS seal_hash,
            unnest(seal_attempts) AS attempts, unnest(seal_costs) AS cost_microcents,
            unnest(seal_durations) AS duration_us, unnest(seal_resolved) AS resolved, unnest(seal_unknown) AS unknown,
            unnest(seal_sealed_ats) AS sealed_at, unnest(seal_numbers) AS number
        ) AS s
        WHERE s.number = ANY (passed);
    END IF;
END $$;

-- What new runs have to know, one row for each request, in order: the heads of their tenants' streams, which are locked in
-- one order, with the number of runs that each opened, and what is there already.
CREATE FUNCTION public.runproof_openings(
    tenant_ids text[], agent_ids text[], run_ids text[], keys text[], owners text[])
RETURNS TABLE (
    has_agent boolean, has_run boolean, key_digest text, key_run_id text, has_lease boolean, is_kept boolean,
    is_purged boolean, next_seq bigint, head text, last_at bigint, runs bigint)
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp SET plan_cache_mode = force_generic_plan SET jit = off SET enable_seqscan = off
SET enable_bitmapscan = off SET enable_hashjoin = off SET enable_mergejoin = off
AS $$
#variable_conflict use_column
BEGIN
    PERFORM 1 FROM public.stream_heads h
    WHERE h.tenant_id = ANY (tenant_ids) AND h.stream = 'tenant/' || h.tenant_id ORDER BY h.tenant_id FOR UPDATE;
    -- A statement of its own: it sees what was committed before the locks were given.
    RETURN QUERY
    SELECT
        (SELECT true FROM public.agents a WHERE a.tenant_id = n.tenant_id AND a.id = n.agent_id) IS NOT NULL,
        (SELECT true FROM public.transitions t
         WHERE t.tenant_id = n.tenant_id AND t.stream = n.stream LIMIT 1) IS NOT NULL,
        k.digest, k.run_id,
        (SELECT true FROM public.workers w
         WHERE w.id = n.owner AND NOT w.dead AND w.lease_until > clock_timestamp()) IS NOT NULL,
        (SELECT true FROM public.archives r WHERE r.tenant_id = n.tenant_id AND r.run_id = n.run_id) IS NOT NULL
            OR (SELECT true FROM public.tombstones s
                WHERE s.tenant_id = n.tenant_id AND s.run_id = n.run_id) IS NOT NULL,
        (SELECT true FROM public.tombstones s WHERE s.tenant_id = n.tenant_id AND s.run_id = k.run_id) IS NOT NULL,
        h.next_seq, h.head, h.last_at, h.runs
    FROM (
        SELECT u.*, 'run/' || u.run_id AS stream, 'tenant/' || u.tenant_id AS tenant_stream
        FROM (SELECT
            unnest(tenant_ids) AS tenant_id, unnest(agent_ids) AS agent_id, unnest(run_ids) AS run_id,
            unnest(keys) AS key, unnest(owners) AS owner, generate_subscripts(tenant_ids, 1) AS number
        ) AS u OFFSET 0) n
    LEFT JOIN public.idempotency_keys k ON k.tenant_id = n.tenant_id AND k.key = n.key
    LEFT JOIN public.stream_heads h ON h.tenant_id = n.tenant_id AND h.stream = n.tenant_stream
    ORDER BY n.number;
END $$;

-- Writes new runs, and what their tenants' streams say of them. They wait to be claimed, or are claimed by whoever made
-- them. Ids of transitions grow in the order of the arrays.
CREATE FUNCTION public.runproof_open(
    transition_tenant_ids text[], streams text[], first_seqs bigint[], event_counts bigint[], events text[],
    payloads text[],
    run_tenant_ids text[], run_ids text[], run_nos bigint[], run_agent_ids text[], run_origin_system_ids text[],
    run_actor_types text[], run_actor_ids text[], run_goals text[], run_statuses text[], run_planners text[],
    run_planner_versions text[], run_plans text[], run_plan_digests text[], run_policy_sets text[],
    run_parent_run_ids text[], run_retry_ofs text[], run_are_synthetic bigint[], run_scenarios text[], run_trace_ids text[],
    run_attempts bigint[], run_wait_reasons text[], run_wait_refs text[], run_wait_sinces text[],
    run_termination_reasons text[], run_costs bigint[], run_durations bigint[], run_created_ats text[],
    run_started_ats text[], run_completed_ats text[],
    trace_tenant_ids text[], trace_ids text[], trace_run_ids text[], trace_agent_ids text[], trace_statuses text[],
    trace_schema_versions text[], trace_started_ats text[], trace_completed_ats text[], trace_metadata text[],
    trace_are_synthetic bigint[], trace_scenarios text[], trace_created_ats text[], trace_archived_ats text[],
    queue_tenant_ids text[], queue_run_ids text[], queue_owners text[], queue_epochs bigint[], queue_next_seqs bigint[],
    queue_heads text[], queue_wake_ats bigint[], queue_priorities bigint[], queue_agent_ids text[],
    key_tenant_ids text[], keys text[], key_digests text[], key_run_ids text[],
    head_tenant_ids text[], head_streams text[], head_next_seqs bigint[], head_heads text[], head_last_ats bigint[],
    head_runs bigint[])
RETURNS void LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp SET plan_cache_mode = force_generic_plan SET jit = off SET enable_seqscan = off
SET enable_bitmapscan = off SET enable_hashjoin = off SET enable_mergejoin = off
AS $$
#variable_conflict use_column
BEGIN
    INSERT INTO public.transitions (tenant_id, stream, first_seq, event_count, events, payloads)
    SELECT n.tenant_id, n.stream, n.first_seq, n.event_count, n.lines, n.payload_lines
    FROM (SELECT
        unnest(transition_tenant_ids) AS tenant_id, unnest(streams) AS stream, unnest(first_seqs) AS first_seq,
        unnest(event_counts) AS event_count, unnest(events) AS lines, unnest(payloads) AS payload_lines,
        generate_subscripts(transition_tenant_ids, 1) AS number
    ) AS n
    ORDER BY n.number;
    INSERT INTO public.runs (
        tenant_id, id, run_no, agent_id, origin_system_id, actor_type, actor_id, goal, status, planner, planner_version,
        plan_json, plan_digest, policy_set, parent_run_id, retry_of, is_synthetic, synthetic_scenario_id, trace_id,
        attempts, wait_reason, wait_ref, wait_since, termination_reason, cost_microcents, duration_us, created_at,
        started_at, completed_at)
    SELECT
        unnest(run_tenant_ids), unnest(run_ids), unnest(run_nos), unnest(run_agent_ids), unnest(run_origin_system_ids),
        unnest(run_actor_types), unnest(run_actor_ids), unnest(run_goals), unnest(run_statuses), unnest(run_planners),
        unnest(run_planner_versions), unnest(run_plans), unnest(run_plan_digests), unnest(run_policy_sets),
        unnest(run_parent_run_ids), unnest(run_retry_ofs), unnest(run_are_synthetic), unnest(run_scenarios),
        unnest(run_trace_ids), unnest(run_attempts), unnest(run_wait_reasons), unnest(run_wait_refs),
        unnest(run_wait_sinces), unnest(run_termination_reasons), unnest(run_costs), unnest(run_durations),
        unnest(run_created_ats), unnest(run_started_ats), unnest(run_completed_ats);
    INSERT INTO public.aos_traces (
        tenant_id, trace_id, run_id, agent_id, status, schema_version, started_at, completed_at, metadata, is_synthetic,
        synthetic_scenario_id, created_at, archived_at)
    SELECT
        unnest(trace_tenant_ids), unnest(trace_ids), unnest(trace_run_ids), unnest(trace_agent_ids),
        unnest(trace_statuses), unnest(trace_schema_versions), unnest(trace_started_ats), unnest(trace_completed_ats),
        unnest(trace_metadata), unnest(trace_are_synthetic), unnest(trace_scenarios), unnest(trace_created_ats),
        unnest(trace_archived_ats);
    INSERT INTO public.run_queue (tenant_id, run_id, owner, epoch, next_seq, head, wake_at, priority, agent_id)
    SELECT
        unnest(queue_tenant_ids), unnest(queue_run_ids), unnest(queue_owners), unnest(queue_epochs),
        unnest(queue_next_seqs), unnest(queue_heads), unnest(queue_wake_ats), unnest(queue_priorities),
        unnest(queue_agent_ids);
    IF cardinality(keys) > 0 THEN
        INSERT INTO public.idempotency_keys (tenant_id, key, digest, run_id)
        SELECT unnest(key_tenant_ids), unnest(keys), unnest(key_digests), unnest(key_run_ids);
    END IF;
    UPDATE public.stream_heads AS h SET next_seq = n.next_seq, head = n.head, last_at = n.last_at, runs = n.runs
    FROM (SELECT
        unnest(head_tenant_ids) AS tenant_id, unnest(head_streams) AS stream, unnest(head_next_seqs) AS next_seq,
        unnest(head_heads) AS head, unnest(head_last_ats) AS last_at, unnest(head_runs) AS runs
    ) AS n
    WHERE h.tenant_id = n.tenant_id AND h.stream = n.stream;
END $$;

REVOKE ALL ON FUNCTION public.runproof_append, public.runproof_openings, public.runproof_open FROM PUBLIC;
GRANT EXECUTE ON FUNCTION public.runproof_append, public.runproof_openings, public.runproof_open TO runproof_engine;
