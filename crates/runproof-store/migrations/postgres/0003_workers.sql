-- Many workers: who they are, how runs are claimed from all tenants, and who may do what in this database.

ALTER TABLE public.run_queue ADD COLUMN priority bigint NOT NULL DEFAULT 5 CHECK (priority BETWEEN 0 AND 9);
ALTER TABLE public.run_queue ADD COLUMN agent_id text COLLATE "C" NOT NULL DEFAULT '';
ALTER TABLE public.run_queue ADD COLUMN format bigint NOT NULL DEFAULT 1;
UPDATE public.run_queue q SET agent_id = r.agent_id FROM public.runs r
    WHERE r.tenant_id = q.tenant_id AND r.id = q.run_id;
-- None of these names a column that a step changes while its run is held: such an update stays within its page.
CREATE INDEX run_queue_claim ON public.run_queue (tenant_id, priority DESC, wake_at, run_id)
    WHERE owner IS NULL AND wake_at IS NOT NULL;
CREATE INDEX run_queue_agent ON public.run_queue (tenant_id, agent_id, priority DESC, wake_at, run_id)
    WHERE owner IS NULL AND wake_at IS NOT NULL;
CREATE INDEX run_queue_held ON public.run_queue (tenant_id, agent_id) WHERE owner IS NOT NULL;
CREATE INDEX run_queue_owner ON public.run_queue (owner) WHERE owner IS NOT NULL;

CREATE TABLE public.limits (
    tenant_id   text   COLLATE "C" NOT NULL,
    agent_id    text   COLLATE "C" NOT NULL,     -- '': the whole tenant
    max_running bigint NOT NULL CHECK (max_running >= 0),
    PRIMARY KEY (tenant_id, agent_id)
);

-- The run that a command is about; NULL: none. Whoever holds the run answers.
ALTER TABLE public.requests ADD COLUMN run_id text COLLATE "C";
CREATE INDEX requests_open ON public.requests (tenant_id, run_id) WHERE answer IS NULL;

-- Processes that run things. A lease counts by the clock of the database; one that lapsed is never renewed.
CREATE TABLE public.workers (
    id          text        COLLATE "C" PRIMARY KEY CHECK (id <> ''),
    version     text        NOT NULL,
    host        text        NOT NULL,
    concurrency bigint      NOT NULL,
    started_at  timestamptz NOT NULL DEFAULT clock_timestamp(),
    lease_until timestamptz NOT NULL,
    dead        boolean     NOT NULL DEFAULT false
) WITH (fillfactor = 50, autovacuum_vacuum_scale_factor = 0.01, autovacuum_vacuum_threshold = 100);
CREATE INDEX workers_alive ON public.workers (id) WHERE NOT dead;
CREATE TRIGGER workers_update BEFORE UPDATE ON public.workers FOR EACH ROW
    WHEN (NEW.id <> OLD.id OR OLD.dead AND NOT NEW.dead
        OR NOT NEW.dead AND NEW.lease_until > OLD.lease_until AND OLD.lease_until <= clock_timestamp())
    EXECUTE FUNCTION public.runproof_refuse('workers: a lease that lapsed cannot be renewed');

-- claims -----------------------------------------------------------------------------------------------------------

-- Due runs of one tenant, p_limit of each agent at most and no more than its limit lets begin: the backlog of an agent at
-- its limit is not read. Only `runproof_claim` calls it, with the limits of the tenant locked.
CREATE FUNCTION public.runproof_due_by_agent(p_tenant text, p_now bigint, p_limit bigint, p_format int)
RETURNS TABLE (run_id text, priority bigint, wake_at bigint)
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
    WITH RECURSIVE agent (id) AS (
        (SELECT q.agent_id FROM public.run_queue q
         WHERE q.tenant_id = p_tenant AND q.owner IS NULL AND q.wake_at IS NOT NULL
         ORDER BY q.tenant_id, q.agent_id, q.priority DESC, q.wake_at, q.run_id LIMIT 1)
        UNION ALL
        SELECT next.agent_id FROM agent CROSS JOIN LATERAL (
            SELECT q.agent_id FROM public.run_queue q
            WHERE q.tenant_id = p_tenant AND q.owner IS NULL AND q.wake_at IS NOT NULL AND q.agent_id > agent.id
            ORDER BY q.tenant_id, q.agent_id, q.priority DESC, q.wake_at, q.run_id LIMIT 1) next
    ), open_agent AS MATERIALIZED (
        SELECT a.id, least(p_limit, l.max_running - CASE WHEN l.max_running IS NOT NULL THEN (
            SELECT count(*) FROM (SELECT 1 FROM public.run_queue q
                WHERE q.tenant_id = p_tenant AND q.agent_id = a.id AND q.owner IS NOT NULL ORDER BY q.agent_id) held) END
            ) AS places
        FROM agent a LEFT JOIN public.limits l ON l.tenant_id = p_tenant AND l.agent_id = a.id
    )
    SELECT due.run_id, due.priority, due.wake_at
    FROM open_agent a CROSS JOIN generate_series(9, 0, -1) priority CROSS JOIN LATERAL (
        SELECT q.run_id, q.priority, q.wake_at FROM public.run_queue q
        WHERE q.tenant_id = p_tenant AND q.agent_id = a.id AND q.priority = priority.priority AND q.owner IS NULL
          AND q.wake_at <= p_now AND q.format <= p_format
        ORDER BY q.wake_at, q.run_id LIMIT greatest(a.places, 0)) due
$$;

-- Gives p_owner up to p_limit runs that are due at p_now, of any tenant, of formats up to p_format. It looks at 64 tenants
-- at a time that have something due and are below their limit, beginning after tenant p_after and going round once; at
-- more only while it found nothing to take. Between tenants, whoever has fewest runs going comes first, then the longest
-- due; within one, the higher priority, then the longest due. Rows that somebody else is about to take are passed over. A
-- tenant with limits is claimed from by one claimer at a time: the locks on its limits make the counts exact. Costs grow
-- with tenants that have something queued and with p_limit, not with the number of runs. RP001: the worker has no lease.
-- Every scan asks for the whole order of the index that it needs, so that no statistics lead it to another.
CREATE FUNCTION public.runproof_claim(p_owner text, p_now bigint, p_limit int, p_format int, p_after text)
RETURNS TABLE (tenant_id text, run_id text, epoch bigint)
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp SET plan_cache_mode = force_generic_plan SET jit = off SET enable_seqscan = off
SET enable_bitmapscan = off SET enable_sort = off SET enable_hashjoin = off SET enable_mergejoin = off
AS $$
#variable_conflict use_column
DECLARE
    v_after      text COLLATE "C" := coalesce(p_after, '');
    v_at         text COLLATE "C" := v_after;
    v_wrapped    boolean := false;
    v_tenants    text[];
    v_priorities bigint[];
    v_firsts     bigint[];
    v_locked     text[];
BEGIN
    IF NOT EXISTS (SELECT 1 FROM public.workers w
            WHERE w.id = p_owner AND NOT w.dead AND w.lease_until > clock_timestamp()) THEN
        RAISE EXCEPTION USING ERRCODE = 'RP001', MESSAGE = 'worker lapsed';
    END IF;
    -- Counting under a lock needs a statement that sees what was committed before the lock was given.
    IF current_setting('transaction_isolation') <> 'read committed' THEN
        RAISE EXCEPTION USING ERRCODE = 'invalid_transaction_state', MESSAGE = 'runproof_claim needs READ COMMITTED';
    END IF;
    LOOP
        -- Steps from one pair of tenant and priority to the next, each with the run that has waited longest.
        WITH RECURSIVE ring (tenant_id, priority, is_due, first, wrapped, place) AS (
            SELECT v_at, 0::bigint, true, NULL::bigint, v_wrapped, 0
            UNION ALL
            SELECT next.tenant_id, next.priority,
                next.wake_at <= p_now AND (next.format <= p_format OR EXISTS (SELECT 1 FROM (
                    SELECT 1 FROM public.run_queue q
                    WHERE q.tenant_id = next.tenant_id AND q.priority = next.priority AND q.owner IS NULL
                      AND q.wake_at <= p_now AND q.format <= p_format
                    ORDER BY q.wake_at, q.run_id LIMIT 1) readable)),
                CASE WHEN next.format <= p_format THEN next.wake_at END, next.wrapped, ring.place + 1
            FROM ring CROSS JOIN LATERAL (
                (SELECT q.tenant_id, q.priority, q.wake_at, q.format, ring.wrapped FROM public.run_queue q
                 WHERE NOT ring.is_due AND q.owner IS NULL AND q.wake_at IS NOT NULL
                   AND q.tenant_id = ring.tenant_id AND q.priority < ring.priority
                 ORDER BY q.priority DESC, q.wake_at, q.run_id LIMIT 1)
                UNION ALL
                (SELECT q.tenant_id, q.priority, q.wake_at, q.format, ring.wrapped FROM public.run_queue q
                 WHERE q.owner IS NULL AND q.wake_at IS NOT NULL AND q.tenant_id > ring.tenant_id
                 ORDER BY q.tenant_id, q.priority DESC, q.wake_at, q.run_id LIMIT 1)
                UNION ALL
                (SELECT q.tenant_id, q.priority, q.wake_at, q.format, true FROM public.run_queue q
                 WHERE NOT ring.wrapped AND q.owner IS NULL AND q.wake_at IS NOT NULL
                 ORDER BY q.tenant_id, q.priority DESC, q.wake_at, q.run_id LIMIT 1)
                LIMIT 1) next (tenant_id, priority, wake_at, format, wrapped)
            WHERE NOT next.wrapped OR next.tenant_id <= v_after
        ), looked_at AS (
            SELECT ring.tenant_id, ring.priority, ring.first, ring.wrapped, ring.place FROM ring
            WHERE ring.place > 0 AND ring.is_due AND NOT EXISTS (
                SELECT 1 FROM public.limits l
                WHERE l.tenant_id = ring.tenant_id AND l.agent_id = '' AND l.max_running <= (
                    SELECT count(*) FROM (SELECT 1 FROM public.run_queue q
                        WHERE q.tenant_id = l.tenant_id AND q.owner IS NOT NULL ORDER BY q.agent_id) held))
            LIMIT 64
        )
        SELECT array_agg(t.tenant_id ORDER BY t.place), array_agg(t.priority ORDER BY t.place),
            array_agg(t.first ORDER BY t.place), bool_or(t.wrapped)
        INTO v_tenants, v_priorities, v_firsts, v_wrapped FROM looked_at t;
        EXIT WHEN v_tenants IS NULL;
        v_at := v_tenants[cardinality(v_tenants)];

        v_locked := ARRAY(
            SELECT l.tenant_id || ',' || l.agent_id FROM (
                SELECT l.tenant_id, l.agent_id FROM public.limits l WHERE l.tenant_id = ANY (v_tenants)
                FOR UPDATE SKIP LOCKED) l);

        RETURN QUERY
        WITH counted AS MATERIALIZED (
            SELECT t.tenant_id, t.priority, t.first,
                (SELECT count(*) FROM (SELECT 1 FROM public.run_queue q
                    WHERE q.tenant_id = t.tenant_id AND q.owner IS NOT NULL ORDER BY q.agent_id) held) AS running,
                (SELECT l.max_running FROM public.limits l
                 WHERE l.tenant_id = t.tenant_id AND l.agent_id = '') AS max_running,
                EXISTS (SELECT 1 FROM public.limits l WHERE l.tenant_id = t.tenant_id AND l.agent_id <> '') AS by_agent
            FROM unnest(v_tenants, v_priorities, v_firsts) t (tenant_id, priority, first)
            WHERE NOT EXISTS (SELECT 1 FROM public.limits l
                WHERE l.tenant_id = t.tenant_id AND l.tenant_id || ',' || l.agent_id <> ALL (v_locked))
        ), tenant AS MATERIALIZED (
            -- One run of each tenant with no more going comes before the second of this one.
            SELECT c.tenant_id, c.priority, c.first, c.running, c.by_agent, least(
                coalesce(c.max_running - c.running, p_limit),
                greatest(1, p_limit + 1 - count(*) FILTER (WHERE NOT c.by_agent) OVER (ORDER BY c.running))) AS places
            FROM counted c WHERE c.max_running IS NULL OR c.running < c.max_running
        ), candidate AS (
            -- Of a tenant that may get one run, the first one is known already.
            SELECT t.tenant_id, t.running, t.places, t.by_agent, NULL AS run_id, t.priority, t.first AS wake_at
            FROM tenant t WHERE NOT t.by_agent AND t.places = 1 AND t.first IS NOT NULL
            UNION ALL
            SELECT t.tenant_id, t.running, t.places, t.by_agent, d.run_id, d.priority, d.wake_at
            FROM tenant t CROSS JOIN LATERAL (
                SELECT due.run_id, due.priority, due.wake_at
                FROM generate_series(t.priority, 0, -1) priority CROSS JOIN LATERAL (
                    SELECT q.run_id, q.priority, q.wake_at FROM public.run_queue q
                    WHERE q.tenant_id = t.tenant_id AND q.priority = priority.priority AND q.owner IS NULL
                      AND q.wake_at <= p_now AND q.format <= p_format
                    ORDER BY q.wake_at, q.run_id LIMIT t.places) due
                LIMIT t.places) d
            WHERE NOT t.by_agent AND (t.places <> 1 OR t.first IS NULL)
            UNION ALL
            SELECT t.tenant_id, t.running, t.places, t.by_agent, d.run_id, d.priority, d.wake_at
            FROM tenant t CROSS JOIN LATERAL public.runproof_due_by_agent(t.tenant_id, p_now, t.places, p_format) d
            WHERE t.by_agent
        ), chosen AS MATERIALIZED (
            SELECT r.tenant_id, r.run_id, r.by_agent FROM (
                SELECT c.tenant_id, c.running, c.places, c.by_agent, c.run_id, c.wake_at, row_number() OVER (
                    PARTITION BY c.tenant_id ORDER BY c.priority DESC, c.wake_at, c.run_id) AS place
                FROM candidate c) r
            WHERE r.place <= r.places
            ORDER BY r.running + r.place, r.wake_at LIMIT p_limit
        ), taken AS MATERIALIZED (
            -- The locks are taken while the index is read, so that claimers at work at once take different runs.
            SELECT due.tenant_id, due.run_id FROM (
                SELECT t.tenant_id, t.priority, (SELECT count(*) FROM chosen c WHERE c.tenant_id = t.tenant_id) AS places
                FROM tenant t WHERE NOT t.by_agent) quota
            CROSS JOIN LATERAL (
                SELECT q.tenant_id, q.run_id FROM generate_series(quota.priority, 0, -1) priority CROSS JOIN LATERAL (
                    SELECT q.tenant_id, q.run_id FROM public.run_queue q
                    WHERE q.tenant_id = quota.tenant_id AND q.priority = priority.priority AND q.owner IS NULL
                      AND q.wake_at <= p_now AND q.format <= p_format
                    ORDER BY q.wake_at, q.run_id LIMIT quota.places FOR UPDATE SKIP LOCKED) q
                LIMIT quota.places) due
            UNION ALL
            SELECT due.tenant_id, due.run_id FROM chosen c CROSS JOIN LATERAL (
                SELECT q.tenant_id, q.run_id FROM public.run_queue q
                WHERE q.tenant_id = c.tenant_id AND q.run_id = c.run_id AND q.owner IS NULL AND q.wake_at <= p_now
                FOR UPDATE SKIP LOCKED) due
            WHERE c.by_agent
        )
        UPDATE public.run_queue q SET owner = p_owner, epoch = q.epoch + 1, wake_at = NULL FROM taken
        WHERE q.tenant_id = taken.tenant_id AND q.run_id = taken.run_id
        RETURNING q.tenant_id, q.run_id, q.epoch;
        EXIT WHEN FOUND;
    END LOOP;
END $$;

-- Declares workers dead whose lease lapsed, 10 at most; then gives back the runs of workers that
-- are dead or unknown, 500 at most, due at p_now. Answers how many of each; anybody may call it at any time.
CREATE FUNCTION public.runproof_reap(p_now bigint) RETURNS TABLE (workers bigint, runs bigint)
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp SET plan_cache_mode = force_generic_plan SET jit = off SET enable_seqscan = off
SET enable_bitmapscan = off SET enable_sort = off SET enable_hashjoin = off SET enable_mergejoin = off
AS $$
BEGIN
    UPDATE public.workers w SET dead = true FROM (
        SELECT l.id FROM public.workers l WHERE NOT l.dead AND l.lease_until < clock_timestamp()
        ORDER BY l.id LIMIT 10 FOR UPDATE SKIP LOCKED) lapsed
    WHERE w.id = lapsed.id;
    GET DIAGNOSTICS workers = ROW_COUNT;

    WITH RECURSIVE holder (owner) AS (
        (SELECT q.owner FROM public.run_queue q WHERE q.owner IS NOT NULL ORDER BY q.owner LIMIT 1)
        UNION ALL
        SELECT next.owner FROM holder CROSS JOIN LATERAL (
            SELECT q.owner FROM public.run_queue q WHERE q.owner IS NOT NULL AND q.owner > holder.owner
            ORDER BY q.owner LIMIT 1) next
    ), orphan AS MATERIALIZED (
        SELECT run.tenant_id, run.run_id FROM holder CROSS JOIN LATERAL (
            SELECT q.tenant_id, q.run_id FROM public.run_queue q WHERE q.owner = holder.owner
            LIMIT 500 FOR UPDATE SKIP LOCKED) run
        WHERE NOT EXISTS (SELECT 1 FROM public.workers w WHERE w.id = holder.owner AND NOT w.dead)
        LIMIT 500
    )
    UPDATE public.run_queue q SET owner = NULL, epoch = q.epoch + 1, wake_at = p_now FROM orphan
    WHERE q.tenant_id = orphan.tenant_id AND q.run_id = orphan.run_id;
    GET DIAGNOSTICS runs = ROW_COUNT;
    RETURN NEXT;
END $$;

-- Transitions that are committed and have no leaf, in the order in which they get one.
CREATE FUNCTION public.runproof_unplaced(p_limit int) RETURNS TABLE (id bigint, tenant_id text)
LANGUAGE sql STABLE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp SET jit = off SET enable_seqscan = off SET enable_bitmapscan = off
SET enable_sort = off SET enable_hashjoin = off SET enable_mergejoin = off
AS $$
    SELECT t.id, t.tenant_id FROM public.transitions t
    WHERE t.id > (SELECT h.settled_id FROM public.ledger_head h) AND NOT EXISTS (
        SELECT 1 FROM public.leaves l
        WHERE l.tenant_id = t.tenant_id AND l.stream = t.stream AND l.first_seq = t.first_seq)
    ORDER BY t.id LIMIT p_limit
$$;

-- Whether any run of any tenant is due that a worker of that format could take, limits aside.
CREATE FUNCTION public.runproof_has_due(p_now bigint, p_format int) RETURNS boolean
LANGUAGE sql STABLE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp SET jit = off SET enable_seqscan = off SET enable_bitmapscan = off
SET enable_sort = off SET enable_hashjoin = off SET enable_mergejoin = off
AS $$
    WITH RECURSIVE pair (tenant_id, priority, wake_at) AS (
        (SELECT q.tenant_id, q.priority, q.wake_at FROM public.run_queue q
         WHERE q.owner IS NULL AND q.wake_at IS NOT NULL
         ORDER BY q.tenant_id, q.priority DESC, q.wake_at, q.run_id LIMIT 1)
        UNION ALL
        SELECT next.tenant_id, next.priority, next.wake_at FROM pair CROSS JOIN LATERAL (
            (SELECT q.tenant_id, q.priority, q.wake_at FROM public.run_queue q
             WHERE q.owner IS NULL AND q.wake_at IS NOT NULL
               AND q.tenant_id = pair.tenant_id AND q.priority < pair.priority
             ORDER BY q.priority DESC, q.wake_at, q.run_id LIMIT 1)
            UNION ALL
            (SELECT q.tenant_id, q.priority, q.wake_at FROM public.run_queue q
             WHERE q.owner IS NULL AND q.wake_at IS NOT NULL AND q.tenant_id > pair.tenant_id
             ORDER BY q.tenant_id, q.priority DESC, q.wake_at, q.run_id LIMIT 1)
            LIMIT 1) next
    )
    SELECT EXISTS (
        SELECT 1 FROM pair WHERE pair.wake_at <= p_now AND EXISTS (SELECT 1 FROM (
            SELECT 1 FROM public.run_queue q
            WHERE q.tenant_id = pair.tenant_id AND q.priority = pair.priority AND q.owner IS NULL
              AND q.wake_at <= p_now AND q.format <= p_format
            ORDER BY q.wake_at, q.run_id LIMIT 1) readable))
$$;

-- What a worker holds, of all tenants.
CREATE FUNCTION public.runproof_owned(p_owner text) RETURNS TABLE (tenant_id text, run_id text, epoch bigint)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
    SELECT q.tenant_id, q.run_id, q.epoch FROM public.run_queue q WHERE q.owner = p_owner
$$;

-- who may do what --------------------------------------------------------------------------------------------------

-- Groups, shared by every database of the cluster; people and programs are made members of them.
DO $$
DECLARE
    v_role    text;
    v_missing text[] := '{}';
BEGIN
    FOREACH v_role IN ARRAY ARRAY['runproof_engine', 'runproof_api', 'runproof_auditor', 'runproof_retention'] LOOP
        IF NOT EXISTS (SELECT 1 FROM pg_catalog.pg_roles WHERE rolname = v_role) THEN
            BEGIN
                EXECUTE format('CREATE ROLE %I NOLOGIN', v_role);
            EXCEPTION
                -- Another database of the cluster was migrated at the same time.
                WHEN duplicate_object OR unique_violation THEN NULL;
                WHEN insufficient_privilege THEN v_missing := v_missing || v_role;
            END;
        END IF;
    END LOOP;
    IF v_missing <> '{}' THEN
        RAISE EXCEPTION USING ERRCODE = 'insufficient_privilege', MESSAGE = format(
            'role %I may not create roles; an administrator has to run: %s', current_user,
            (SELECT string_agg(format('CREATE ROLE %I NOLOGIN;', m), ' ') FROM unnest(v_missing) m));
    END IF;
END $$;

-- Engine and api see the tenants that the transaction set; nothing set is nothing seen. Owner, auditor and retention see
-- all. This holds against a WHERE that was forgotten, not against a person who can run SQL as one of these roles.
-- IS TRUE keeps the condition out of the indexes: as one of theirs it counts as ten lookups, and a planner prefers to read
-- all rows of the tenant once. Statements name the tenant themselves. The SELECT makes the array once for each statement.
DO $$
DECLARE
    v_table  text;
    v_column text;
BEGIN
    FOR v_table, v_column IN
        SELECT c.relname, CASE c.relname WHEN 'tenants' THEN 'id' ELSE 'tenant_id' END FROM pg_catalog.pg_class c
        WHERE c.relnamespace = 'public'::regnamespace AND c.relname IN (
            'transitions', 'leaves', 'run_seals', 'tenants', 'agents', 'runs', 'aos_traces', 'aos_trace_steps', 'erasures',
            'stream_heads', 'run_queue', 'idempotency_keys', 'requests', 'kv', 'limits')
    LOOP
        EXECUTE format('ALTER TABLE public.%I ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY', v_table);
        EXECUTE format('CREATE POLICY of_tenants ON public.%I TO runproof_engine, runproof_api USING '
            '((%I = ANY ((SELECT string_to_array(current_setting(''runproof.tenants'', true), '',''))::text[])) '
            'IS TRUE)', v_table, v_column);
        EXECUTE format('CREATE POLICY of_readers ON public.%I FOR SELECT TO runproof_auditor, runproof_retention '
            'USING (true)', v_table);
        EXECUTE format('CREATE POLICY of_owner ON public.%I TO %I USING (true)', v_table, current_user);
    END LOOP;
END $$;

REVOKE ALL ON
    public.transitions, public.leaves, public.run_seals, public.checkpoints, public.tenants, public.agents, public.runs,
    public.aos_traces, public.aos_trace_steps, public.erasures, public.ledger_tiles, public.ledger, public.ledger_head,
    public.stream_heads, public.run_queue, public.idempotency_keys, public.requests, public.kv, public.limits,
    public.workers, public.schema_migrations, public.alembic_version
    FROM PUBLIC;

GRANT SELECT ON
    public.transitions, public.leaves, public.run_seals, public.checkpoints, public.tenants, public.agents, public.runs,
    public.aos_traces, public.aos_trace_steps, public.erasures, public.ledger_tiles, public.ledger, public.ledger_head,
    public.stream_heads, public.run_queue, public.idempotency_keys, public.requests, public.kv, public.limits,
    public.workers, public.schema_migrations, public.alembic_version
    TO runproof_engine, runproof_auditor, runproof_retention;
GRANT INSERT ON
    public.transitions, public.leaves, public.run_seals, public.checkpoints, public.tenants, public.agents, public.runs,
    public.aos_traces, public.aos_trace_steps, public.erasures, public.ledger_tiles, public.ledger, public.stream_heads,
    public.run_queue, public.idempotency_keys, public.requests, public.kv, public.limits, public.workers
    TO runproof_engine;
GRANT UPDATE ON
    public.runs, public.ledger_tiles, public.ledger_head, public.stream_heads, public.run_queue, public.requests, public.kv,
    public.limits, public.workers
    TO runproof_engine;
-- The id that was given out last: what the sequencer settles up to.
GRANT SELECT ON SEQUENCE public.transitions_id_seq TO runproof_engine;
GRANT UPDATE (payloads) ON public.transitions TO runproof_engine;
GRANT UPDATE (status, completed_at, metadata) ON public.aos_traces TO runproof_engine;
GRANT DELETE ON public.run_queue, public.requests, public.kv, public.limits TO runproof_engine;

GRANT SELECT ON
    public.transitions, public.leaves, public.run_seals, public.checkpoints, public.tenants, public.agents, public.runs,
    public.aos_traces, public.aos_trace_steps, public.erasures, public.ledger_tiles, public.ledger, public.ledger_head,
    public.stream_heads, public.run_queue, public.idempotency_keys, public.requests, public.limits,
    public.schema_migrations, public.alembic_version
    TO runproof_api;
-- What opening a run writes, and commands for whoever holds one.
GRANT INSERT ON
    public.transitions, public.runs, public.aos_traces, public.run_queue, public.idempotency_keys, public.requests
    TO runproof_api;
GRANT UPDATE ON public.stream_heads TO runproof_api;
GRANT DELETE ON public.requests TO runproof_api;

REVOKE ALL ON FUNCTION
    public.runproof_refuse(), public.runproof_runs_insert(), public.runproof_runs_update(), public.runproof_traces_update(),
    public.runproof_traces_delete(), public.runproof_steps_insert(), public.runproof_steps_update(),
    public.runproof_steps_delete(), public.runproof_transitions_number(), public.runproof_transitions_update(),
    public.runproof_tiles_update(),
    public.runproof_claim(text, bigint, int, int, text), public.runproof_due_by_agent(text, bigint, bigint, int),
    public.runproof_reap(bigint), public.runproof_unplaced(int), public.runproof_has_due(bigint, int),
    public.runproof_owned(text)
    FROM PUBLIC;
GRANT EXECUTE ON FUNCTION
    public.runproof_claim(text, bigint, int, int, text), public.runproof_reap(bigint),
    public.runproof_unplaced(int), public.runproof_has_due(bigint, int), public.runproof_owned(text)
    TO runproof_engine;
