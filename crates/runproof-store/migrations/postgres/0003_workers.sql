-- Many workers: who they are, how runs are claimed from all tenants, and who may do what in this database.

ALTER TABLE public.run_queue ADD COLUMN priority bigint NOT NULL DEFAULT 5 CHECK (priority BETWEEN 0 AND 9);
ALTER TABLE public.run_queue ADD COLUMN agent_id text COLLATE "C" NOT NULL DEFAULT '';
ALTER TABLE public.run_queue ADD COLUMN format bigint NOT NULL DEFAULT 1;
UPDATE public.run_queue q SET agent_id = r.agent_id FROM public.runs r
    WHERE r.tenant_id = q.tenant_id AND r.id = q.run_id;
-- None of these names a column that a step changes while its run is held: such an update stays within its page.
CREATE INDEX run_queue_claim ON public.run_queue (tenant_id, priority DESC, wake_at, run_id)
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

-- Gives p_owner up to p_limit runs that are due at p_now, of any tenant, of formats up to p_format. It looks at 64 tenants
-- at a time that have something due and are below their limit, beginning after tenant p_after and going round once; at
-- more only while it found nothing to take. Between tenants, whoever has fewest runs going comes first, then the longest
-- due; within one, the higher priority, then the longest due. Rows that somebody else is about to take are passed over. A
-- tenant with limits is claimed from by one claimer at a time: the locks on its limits make the counts exact. Costs grow
-- with tenants that have something queued and with p_limit, not with the number of runs. RP001: the worker has no lease.
CREATE FUNCTION public.runproof_claim(p_owner text, p_now bigint, p_limit int, p_format int, p_after text)
RETURNS TABLE (tenant_id text, run_id text, epoch bigint)
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp SET plan_cache_mode = force_generic_plan
SET jit = off SET enable_seqscan = off SET enable_bitmapscan = off SET enable_hashjoin = off SET enable_mergejoin = off
AS $$
#variable_conflict use_column
DECLARE
    v_at      text COLLATE "C" := coalesce(p_after, '');
    v_wrapped boolean := false;
    v_tenants text[];
    v_locked  text[];
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
        WITH RECURSIVE ring (tenant_id, wrapped, place) AS (
            SELECT v_at, v_wrapped, 0
            UNION ALL
            SELECT next.tenant_id, next.wrapped, ring.place + 1 FROM ring CROSS JOIN LATERAL (
                (SELECT q.tenant_id, ring.wrapped FROM public.run_queue q
                 WHERE q.owner IS NULL AND q.wake_at IS NOT NULL AND q.tenant_id > ring.tenant_id
                 ORDER BY q.tenant_id LIMIT 1)
                UNION ALL
                (SELECT q.tenant_id, true FROM public.run_queue q
                 WHERE NOT ring.wrapped AND q.owner IS NULL AND q.wake_at IS NOT NULL
                 ORDER BY q.tenant_id LIMIT 1)
                LIMIT 1) next (tenant_id, wrapped)
            WHERE NOT next.wrapped OR next.tenant_id <= coalesce(p_after, '')
        ), looked_at AS (
            SELECT ring.tenant_id, ring.wrapped, ring.place FROM ring
            WHERE ring.place > 0
              AND EXISTS (
                SELECT 1 FROM generate_series(0, 9) priority CROSS JOIN LATERAL (
                    SELECT 1 FROM public.run_queue q
                    WHERE q.tenant_id = ring.tenant_id AND q.priority = priority.priority AND q.owner IS NULL
                      AND q.wake_at <= p_now AND q.format <= p_format
                    LIMIT 1) due)
              AND NOT EXISTS (
                SELECT 1 FROM public.limits l
                WHERE l.tenant_id = ring.tenant_id AND l.agent_id = '' AND l.max_running <= (
                    SELECT count(*) FROM public.run_queue q WHERE q.tenant_id = l.tenant_id AND q.owner IS NOT NULL))
            LIMIT 64
        )
        SELECT array_agg(t.tenant_id ORDER BY t.place), bool_or(t.wrapped) INTO v_tenants, v_wrapped FROM looked_at t;
        EXIT WHEN v_tenants IS NULL;
        v_at := v_tenants[cardinality(v_tenants)];

        v_locked := ARRAY(
            SELECT l.tenant_id || ',' || l.agent_id FROM (
                SELECT l.tenant_id, l.agent_id FROM public.limits l WHERE l.tenant_id = ANY (v_tenants)
                FOR UPDATE SKIP LOCKED) l);

        RETURN QUERY
        WITH tenant AS MATERIALIZED (
            SELECT t.tenant_id,
                (SELECT count(*) FROM public.run_queue q
                 WHERE q.tenant_id = t.tenant_id AND q.owner IS NOT NULL) AS running,
                (SELECT l.max_running FROM public.limits l
                 WHERE l.tenant_id = t.tenant_id AND l.agent_id = '') AS max_running,
                EXISTS (SELECT 1 FROM public.limits l WHERE l.tenant_id = t.tenant_id) AS is_limited,
                EXISTS (SELECT 1 FROM public.limits l WHERE l.tenant_id = t.tenant_id AND l.agent_id <> '') AS by_agent
            FROM unnest(v_tenants) t (tenant_id)
            WHERE NOT EXISTS (SELECT 1 FROM public.limits l
                WHERE l.tenant_id = t.tenant_id AND l.tenant_id || ',' || l.agent_id <> ALL (v_locked))
        ), candidate AS (
            SELECT t.tenant_id, t.running, t.max_running, t.is_limited, d.run_id, d.wake_at, row_number() OVER (
                    PARTITION BY t.tenant_id ORDER BY d.priority DESC, d.wake_at, d.run_id) AS rank
            FROM tenant t CROSS JOIN LATERAL (
                SELECT due.run_id, due.priority, due.wake_at
                FROM generate_series(9, 0, -1) priority CROSS JOIN LATERAL (
                    SELECT q.run_id, q.priority, q.wake_at FROM public.run_queue q
                    WHERE q.tenant_id = t.tenant_id AND q.priority = priority.priority AND q.owner IS NULL
                      AND q.wake_at <= p_now AND q.format <= p_format
                    ORDER BY q.wake_at, q.run_id LIMIT p_limit) due
                LIMIT p_limit) d
        ), chosen AS MATERIALIZED (
            SELECT c.tenant_id, c.run_id, c.is_limited, c.running + c.rank AS going, c.wake_at
            FROM candidate c WHERE c.max_running IS NULL OR c.running + c.rank <= c.max_running
            ORDER BY c.running + c.rank, c.wake_at LIMIT p_limit
        ), taken AS MATERIALIZED (
            SELECT q.tenant_id, q.run_id FROM (
                SELECT c.tenant_id, count(*) AS places FROM chosen c GROUP BY c.tenant_id) quota
            CROSS JOIN LATERAL (
                SELECT due.tenant_id, due.run_id FROM generate_series(9, 0, -1) priority CROSS JOIN LATERAL (
                    SELECT q.tenant_id, q.run_id FROM public.run_queue q
                    WHERE q.tenant_id = quota.tenant_id AND q.priority = priority.priority AND q.owner IS NULL
                      AND q.wake_at <= p_now AND q.format <= p_format
                    ORDER BY q.wake_at, q.run_id LIMIT quota.places FOR UPDATE SKIP LOCKED) due
                LIMIT quota.places) q
        )
        UPDATE public.run_queue q SET owner = p_owner, epoch = q.epoch + 1, wake_at = NULL FROM taken
        WHERE q.tenant_id = taken.tenant_id AND q.run_id = taken.run_id
        RETURNING q.tenant_id, q.run_id, q.epoch;
        EXIT WHEN FOUND;
    END LOOP;
END $$;

-- Declares workers dead whose lease lapsed longer than p_grace ago, 10 at most; then gives back the runs of workers that
-- are dead or unknown, 500 at most, due at p_now. Answers how many of each; anybody may call it at any time.
CREATE FUNCTION public.runproof_reap(p_grace interval, p_now bigint) RETURNS TABLE (workers bigint, runs bigint)
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp SET plan_cache_mode = force_generic_plan
SET jit = off SET enable_seqscan = off SET enable_bitmapscan = off SET enable_hashjoin = off SET enable_mergejoin = off
AS $$
BEGIN
    UPDATE public.workers w SET dead = true FROM (
        SELECT l.id FROM public.workers l WHERE NOT l.dead AND l.lease_until < clock_timestamp() - p_grace
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
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
SET jit = off SET enable_seqscan = off SET enable_bitmapscan = off SET enable_hashjoin = off SET enable_mergejoin = off
AS $$
    SELECT t.id, t.tenant_id FROM public.transitions t
    WHERE t.id > (SELECT h.settled_id FROM public.ledger_head h) AND NOT EXISTS (
        SELECT 1 FROM public.leaves l
        WHERE l.tenant_id = t.tenant_id AND l.stream = t.stream AND l.first_seq = t.first_seq)
    ORDER BY t.id LIMIT p_limit
$$;

-- Whether any run of any tenant is due that a worker of that format could take, limits aside.
CREATE FUNCTION public.runproof_has_due(p_now bigint, p_format int) RETURNS boolean
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
SET jit = off SET enable_seqscan = off SET enable_bitmapscan = off SET enable_hashjoin = off SET enable_mergejoin = off
AS $$
    WITH RECURSIVE tenant (id) AS (
        (SELECT q.tenant_id FROM public.run_queue q WHERE q.owner IS NULL AND q.wake_at IS NOT NULL
         ORDER BY q.tenant_id LIMIT 1)
        UNION ALL
        SELECT next.tenant_id FROM tenant CROSS JOIN LATERAL (
            SELECT q.tenant_id FROM public.run_queue q
            WHERE q.owner IS NULL AND q.wake_at IS NOT NULL AND q.tenant_id > tenant.id
            ORDER BY q.tenant_id LIMIT 1) next
    )
    SELECT EXISTS (
        SELECT 1 FROM tenant CROSS JOIN generate_series(0, 9) priority CROSS JOIN LATERAL (
            SELECT 1 FROM public.run_queue q
            WHERE q.tenant_id = tenant.id AND q.priority = priority.priority AND q.owner IS NULL
              AND q.wake_at <= p_now AND q.format <= p_format
            LIMIT 1) due)
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
            '(%I = ANY (string_to_array(current_setting(''runproof.tenants'', true), '','')))', v_table, v_column);
        EXECUTE format('CREATE POLICY of_readers ON public.%I FOR SELECT TO runproof_auditor, runproof_retention '
            'USING (true)', v_table);
        EXECUTE format('CREATE POLICY of_owner ON public.%I TO %I USING (true)', v_table, current_user);
    END LOOP;
END $$;

REVOKE ALL ON ALL TABLES IN SCHEMA public FROM PUBLIC;

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
    public.runproof_steps_delete(), public.runproof_transitions_insert(), public.runproof_transitions_update(),
    public.runproof_claim(text, bigint, int, int, text), public.runproof_reap(interval, bigint),
    public.runproof_unplaced(int), public.runproof_has_due(bigint, int), public.runproof_owned(text)
    FROM PUBLIC;
GRANT EXECUTE ON FUNCTION
    public.runproof_claim(text, bigint, int, int, text), public.runproof_reap(interval, bigint),
    public.runproof_unplaced(int), public.runproof_has_due(bigint, int), public.runproof_owned(text)
    TO runproof_engine;
