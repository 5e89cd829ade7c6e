-- The first schema of the Postgres store: the tables of the embedded store with the same columns, and what many writers
-- need besides. Kinds of tables (evidence, projection, operational): docs/spec/tables.md. Who may do what: 0003.
-- Integers are bigint, booleans 0 and 1, times text: `proof` compares the same cells in every store. Keys are COLLATE "C":
-- their order is the one of their bytes, and no index depends on the libraries of the machine.
--
-- Growth: `transitions` can become a table partitioned by ranges of `id`, the step and trace tables by ranges of
-- `created_at` or `timestamp`. The table as it is becomes the first partition, the partition column joins the key, and
-- what keeps a key unique across partitions is the compare-and-set of the stream's head. No foreign key points at these
-- tables, and every trigger on them is one that a partitioned table may have.

-- evidence ---------------------------------------------------------------------------------------------------------

-- One row is what committed together in one stream: events as canonical JSON lines, payload lines beside them.
-- Its place in the ledger is a row of `leaves`, written once the transition is committed.
CREATE TABLE public.transitions (
    id          bigint NOT NULL GENERATED ALWAYS AS IDENTITY (CACHE 1),
    tenant_id   text   COLLATE "C" NOT NULL,     -- '' in the log's own stream
    stream      text   COLLATE "C" NOT NULL,
    first_seq   bigint NOT NULL CHECK (first_seq >= 0),
    event_count bigint NOT NULL CHECK (event_count > 0),
    events      text   NOT NULL,
    payloads    text   NOT NULL,
    PRIMARY KEY (tenant_id, stream, first_seq)
);
CREATE INDEX transitions_id ON public.transitions (id);

CREATE TABLE public.leaves (
    first_leaf    bigint PRIMARY KEY CHECK (first_leaf >= 0),
    tenant_id     text   COLLATE "C" NOT NULL,
    stream        text   COLLATE "C" NOT NULL,
    first_seq     bigint NOT NULL,
    transition_id bigint NOT NULL,
    UNIQUE (tenant_id, stream, first_seq)
);

CREATE TABLE public.run_seals (
    tenant_id       text   COLLATE "C" NOT NULL,
    run_id          text   COLLATE "C" NOT NULL,
    status          text   NOT NULL CHECK (status IN ('succeeded', 'failed', 'halted', 'cancelled')),
    reason          text   NOT NULL,
    event_count     bigint NOT NULL,
    step_count      bigint NOT NULL,
    run_root        text   NOT NULL,
    seal_hash       text   NOT NULL,
    attempts        bigint NOT NULL,
    cost_microcents bigint NOT NULL,
    duration_us     bigint NOT NULL,
    resolved        bigint NOT NULL,
    unknown         bigint NOT NULL,
    sealed_at       text   NOT NULL,
    PRIMARY KEY (tenant_id, run_id)
);

CREATE TABLE public.checkpoints (
    size bigint PRIMARY KEY,
    root text   NOT NULL,
    note text   NOT NULL
);

-- projections ------------------------------------------------------------------------------------------------------

-- A comma would make two tenants of one in the setting `runproof.tenants`, which the row policies read.
CREATE TABLE public.tenants (
    id         text COLLATE "C" PRIMARY KEY CHECK (id <> '' AND strpos(id, ',') = 0),
    created_at text NOT NULL
);

CREATE TABLE public.agents (
    tenant_id  text COLLATE "C" NOT NULL,
    id         text COLLATE "C" NOT NULL,
    name       text NOT NULL,
    created_at text NOT NULL,
    PRIMARY KEY (tenant_id, id)
);

CREATE TABLE public.runs (
    tenant_id             text   COLLATE "C" NOT NULL,
    id                    text   COLLATE "C" NOT NULL,
    run_no                bigint,
    agent_id              text   COLLATE "C" NOT NULL CHECK (btrim(agent_id) <> ''),
    origin_system_id      text   NOT NULL CHECK (btrim(origin_system_id, E' \t\n\r') <> ''),
    actor_type            text   NOT NULL DEFAULT 'system' CHECK (actor_type IN ('human', 'system', 'service')),
    actor_id              text,
    goal                  text,                  -- NULL once it was erased
    status                text   NOT NULL DEFAULT 'queued' CHECK (status IN (
        'queued', 'running', 'retry', 'pending_approval', 'waiting', 'succeeded', 'failed', 'halted', 'cancelled')),
    planner               text,
    planner_version       text,
    plan_json             text,
    plan_digest           text,
    policy_set            text,
    parent_run_id         text,
    retry_of              text,
    is_synthetic          bigint NOT NULL DEFAULT 0 CHECK (is_synthetic IN (0, 1)),
    synthetic_scenario_id text,
    trace_id              text,
    attempts              bigint NOT NULL DEFAULT 0,
    wait_reason           text,
    wait_ref              text,
    wait_since            text,
    termination_reason    text,
    cost_microcents       bigint,
    duration_us           bigint,
    created_at            text   NOT NULL
        DEFAULT to_char(clock_timestamp() AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"'),
    started_at            text,
    completed_at          text,
    cost_cents            double precision GENERATED ALWAYS AS (cost_microcents / 1000000.0::double precision) STORED,
    duration_ms           double precision GENERATED ALWAYS AS (duration_us / 1000.0::double precision) STORED,
    PRIMARY KEY (tenant_id, id),
    CHECK (goal IS NOT NULL OR status IN ('succeeded', 'failed', 'halted', 'cancelled')),
    CHECK ((is_synthetic = 1) = (synthetic_scenario_id IS NOT NULL)),
    CHECK (actor_type <> 'human' OR btrim(coalesce(actor_id, '')) <> '')
) WITH (fillfactor = 80);
-- Partial, so that no statement takes it for the way to one run: while the table is small, it looks as good as the key.
CREATE UNIQUE INDEX runs_run_no ON public.runs (tenant_id, run_no) WHERE run_no IS NOT NULL;

CREATE TABLE public.aos_traces (
    tenant_id             text   COLLATE "C" NOT NULL,
    trace_id              text   COLLATE "C" NOT NULL,
    run_id                text   COLLATE "C" NOT NULL,
    agent_id              text,
    status                text   NOT NULL CHECK (status IN ('running', 'completed', 'failed', 'aborted')),
    schema_version        text   NOT NULL,
    started_at            text   NOT NULL,
    completed_at          text,
    metadata              text,
    is_synthetic          bigint NOT NULL DEFAULT 0,
    synthetic_scenario_id text,
    created_at            text   NOT NULL,
    archived_at           text,
    PRIMARY KEY (tenant_id, trace_id),
    CHECK ((is_synthetic = 1) = (synthetic_scenario_id IS NOT NULL))
) WITH (fillfactor = 80);

CREATE TABLE public.aos_trace_steps (
    tenant_id             text   COLLATE "C" NOT NULL,
    trace_id              text   COLLATE "C" NOT NULL,
    step_index            bigint NOT NULL CHECK (step_index >= 0),
    run_id                text   COLLATE "C" NOT NULL,
    step_id               text   NOT NULL,
    item                  text,
    plan_index            bigint NOT NULL,
    skill_id              text   NOT NULL,
    skill_name            text   NOT NULL,
    status                text   NOT NULL CHECK (status IN ('success', 'failure', 'skipped', 'unknown', 'retry')),
    outcome_category      text   NOT NULL,
    outcome_code          text,
    cost_microcents       bigint NOT NULL CHECK (cost_microcents >= 0),
    duration_us           bigint NOT NULL CHECK (duration_us >= 0),
    retry_count           bigint NOT NULL CHECK (retry_count >= 0),
    idempotency_key       text,
    source                text   NOT NULL CHECK (source IN ('engine', 'external', 'import')),
    level                 text   NOT NULL CHECK (level IN ('INFO', 'WARN', 'ERROR')),
    is_synthetic          bigint NOT NULL DEFAULT 0,
    synthetic_scenario_id text,
    timestamp             text   NOT NULL,
    archived_at           text,
    cost_cents            double precision GENERATED ALWAYS AS (cost_microcents / 1000000.0::double precision) STORED,
    duration_ms           double precision GENERATED ALWAYS AS (duration_us / 1000.0::double precision) STORED,
    PRIMARY KEY (tenant_id, trace_id, step_index),
    CHECK (status <> 'retry' OR source = 'import'),
    CHECK ((is_synthetic = 1) = (synthetic_scenario_id IS NOT NULL))
);

CREATE TABLE public.erasures (
    tenant_id  text   COLLATE "C" NOT NULL,
    run_id     text   COLLATE "C" NOT NULL,
    seq        bigint NOT NULL,
    field      text   COLLATE "C" NOT NULL,
    part_index bigint NOT NULL,                  -- -1: every part
    erased_at  text   NOT NULL,
    PRIMARY KEY (tenant_id, run_id, seq, field, part_index)
);

-- Hash tiles of the ledger, 256 hashes of 32 bytes at most; the last tile of a level grows.
CREATE TABLE public.ledger_tiles (
    level  bigint NOT NULL,
    tile   bigint NOT NULL,
    hashes bytea  NOT NULL,
    PRIMARY KEY (level, tile)
);

-- operational ------------------------------------------------------------------------------------------------------

CREATE TABLE public.ledger (
    "only"     bigint PRIMARY KEY CHECK ("only" = 1),
    origin     text NOT NULL,
    vkey       text NOT NULL,
    created_at text NOT NULL
);

-- Up to where leaves were placed: whoever holds its one row is the sequencer. Up to `settled_id` no id can appear any
-- more; above it, an id that is missing may still commit.
CREATE TABLE public.ledger_head (
    "only"     bigint PRIMARY KEY CHECK ("only" = 1),
    size       bigint NOT NULL,
    settled_id bigint NOT NULL
);
INSERT INTO public.ledger_head ("only", size, settled_id) VALUES (1, 0, 0);

-- Heads of the streams that are not runs; `runs` counts the run numbers given out.
CREATE TABLE public.stream_heads (
    tenant_id text   COLLATE "C" NOT NULL,
    stream    text   COLLATE "C" NOT NULL,
    next_seq  bigint NOT NULL,
    head      text   NOT NULL,
    last_at   bigint NOT NULL,
    runs      bigint NOT NULL,
    PRIMARY KEY (tenant_id, stream)
) WITH (fillfactor = 50);

-- The hottest table: one short row for each run that is not over, updated in place as long as the claim stays.
CREATE TABLE public.run_queue (
    tenant_id text   COLLATE "C" NOT NULL,
    run_id    text   COLLATE "C" NOT NULL,
    owner     text   COLLATE "C",
    epoch     bigint NOT NULL,
    next_seq  bigint NOT NULL,
    head      text   NOT NULL,
    wake_at   bigint,                            -- microseconds; NULL: not before somebody acts
    PRIMARY KEY (tenant_id, run_id)
) WITH (
    fillfactor = 70,
    autovacuum_vacuum_scale_factor = 0.01, autovacuum_vacuum_threshold = 1000, autovacuum_vacuum_cost_delay = 0,
    autovacuum_analyze_scale_factor = 0.05
);

CREATE TABLE public.idempotency_keys (
    tenant_id text COLLATE "C" NOT NULL,
    key       text COLLATE "C" NOT NULL,
    digest    text NOT NULL,
    run_id    text NOT NULL,
    PRIMARY KEY (tenant_id, key)
);

-- Commands left for the process that holds the run.
CREATE TABLE public.requests (
    id         bigint PRIMARY KEY GENERATED ALWAYS AS IDENTITY,
    tenant_id  text COLLATE "C" NOT NULL,
    body       text NOT NULL,
    answer     text,
    created_at text NOT NULL
        DEFAULT to_char(clock_timestamp() AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"')
);

CREATE TABLE public.kv (
    tenant_id text   COLLATE "C" NOT NULL,
    key       text   COLLATE "C" NOT NULL,
    value     text   NOT NULL,
    version   bigint NOT NULL,
    PRIMARY KEY (tenant_id, key)
) WITH (fillfactor = 80);

-- rules ------------------------------------------------------------------------------------------------------------
-- A key that is taken is refused by its primary key. What may change is named, and the rest of the row is compared as a
-- whole: a column that comes later cannot change before a migration says so.

-- Refuses; the first argument of the trigger is the text.
CREATE FUNCTION public.runproof_refuse() RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    RAISE EXCEPTION USING ERRCODE = 'restrict_violation', TABLE = TG_TABLE_NAME, MESSAGE = TG_ARGV[0];
END $$;

CREATE FUNCTION public.runproof_runs_insert() RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF NEW.origin_system_id = 'legacy-migration' THEN
        RAISE EXCEPTION USING ERRCODE = 'check_violation', TABLE = 'runs', CONSTRAINT = 'chk_runs_origin_system_not_legacy',
            MESSAGE = 'origin_system_id cannot be ''legacy-migration'' for new runs (use real system identifier)';
    END IF;
    RAISE EXCEPTION USING ERRCODE = 'check_violation', TABLE = 'runs', CONSTRAINT = 'chk_runs_agent_not_legacy',
        MESSAGE = 'agent_id cannot be ''legacy-unknown'' for new runs (use real agent identifier)';
END $$;
CREATE TRIGGER runs_insert BEFORE INSERT ON public.runs FOR EACH ROW
    WHEN (NEW.origin_system_id = 'legacy-migration' OR NEW.agent_id = 'legacy-unknown')
    EXECUTE FUNCTION public.runproof_runs_insert();

-- Who, what and where from never changes; where a run stands changes until it is over. One exception: the goal or the
-- plan of a run that is over becomes NULL when its erasure is on record.
CREATE FUNCTION public.runproof_runs_update() RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    allowed public.runs := OLD;
    is_over boolean := OLD.status IN ('succeeded', 'failed', 'halted', 'cancelled');
BEGIN
    -- Generated columns have no value before the row is written.
    allowed.cost_cents := NEW.cost_cents;
    allowed.duration_ms := NEW.duration_ms;
    IF is_over THEN
        IF NEW.goal IS NULL AND EXISTS (SELECT 1 FROM public.erasures e
                WHERE e.tenant_id = OLD.tenant_id AND e.run_id = OLD.id AND e.field = 'goal') THEN
            allowed.goal := NULL;
        END IF;
        IF NEW.plan_json IS NULL AND EXISTS (SELECT 1 FROM public.erasures e
                WHERE e.tenant_id = OLD.tenant_id AND e.run_id = OLD.id AND e.field = 'plan') THEN
            allowed.plan_json := NULL;
        END IF;
    ELSE
        allowed.status := NEW.status;
        allowed.planner := NEW.planner;
        allowed.planner_version := NEW.planner_version;
        allowed.plan_json := NEW.plan_json;
        allowed.plan_digest := NEW.plan_digest;
        allowed.policy_set := NEW.policy_set;
        allowed.parent_run_id := NEW.parent_run_id;
        allowed.retry_of := NEW.retry_of;
        allowed.trace_id := NEW.trace_id;
        allowed.attempts := NEW.attempts;
        allowed.wait_reason := NEW.wait_reason;
        allowed.wait_ref := NEW.wait_ref;
        allowed.wait_since := NEW.wait_since;
        allowed.termination_reason := NEW.termination_reason;
        allowed.cost_microcents := NEW.cost_microcents;
        allowed.duration_us := NEW.duration_us;
        allowed.started_at := NEW.started_at;
        allowed.completed_at := NEW.completed_at;
    END IF;
    IF NEW IS DISTINCT FROM allowed THEN
        RAISE EXCEPTION USING ERRCODE = 'restrict_violation', TABLE = 'runs', MESSAGE = CASE WHEN is_over
            THEN 'runs: a run that is over cannot be changed'
            ELSE 'runs: who, what and where from cannot be changed' END;
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER runs_update BEFORE UPDATE ON public.runs FOR EACH ROW EXECUTE FUNCTION public.runproof_runs_update();
CREATE TRIGGER runs_delete BEFORE DELETE ON public.runs FOR EACH ROW
    EXECUTE FUNCTION public.runproof_refuse('runs: direct DELETE not allowed');
CREATE TRIGGER runs_truncate BEFORE TRUNCATE ON public.runs
    EXECUTE FUNCTION public.runproof_refuse('runs: TRUNCATE not allowed');

CREATE FUNCTION public.runproof_traces_update() RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    allowed public.aos_traces := OLD;
BEGIN
    IF OLD.status = 'running' AND OLD.completed_at IS NULL AND NEW.status IN ('completed', 'failed', 'aborted') THEN
        allowed.status := NEW.status;
        allowed.completed_at := NEW.completed_at;
        allowed.metadata := NEW.metadata;
    ELSIF OLD.status <> 'running' AND OLD.archived_at IS NULL AND NEW.archived_at IS NOT NULL THEN
        allowed.archived_at := NEW.archived_at;
    ELSE
        allowed := NULL;
    END IF;
    IF NEW IS DISTINCT FROM allowed THEN
        RAISE EXCEPTION USING ERRCODE = 'restrict_violation', TABLE = 'aos_traces', MESSAGE = format(
            'S6_IMMUTABILITY_VIOLATION: aos_traces is immutable. UPDATE rejected for trace_id=%s. Only archival (archived_at: NULL -> timestamp) or completion (status/completed_at/metadata only) is permitted.',
            OLD.trace_id);
    END IF;
    RETURN NEW;
END $$;
CREATE FUNCTION public.runproof_traces_delete() RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    RAISE EXCEPTION USING ERRCODE = 'restrict_violation', TABLE = 'aos_traces', MESSAGE = format(
        'S6_IMMUTABILITY_VIOLATION: aos_traces direct DELETE not allowed. Archive first using cleanup_old_traces(). trace_id=%s',
        OLD.trace_id);
END $$;
CREATE TRIGGER aos_traces_update BEFORE UPDATE ON public.aos_traces FOR EACH ROW
    EXECUTE FUNCTION public.runproof_traces_update();
CREATE TRIGGER aos_traces_delete BEFORE DELETE ON public.aos_traces FOR EACH ROW
    EXECUTE FUNCTION public.runproof_traces_delete();
CREATE TRIGGER aos_traces_truncate BEFORE TRUNCATE ON public.aos_traces
    EXECUTE FUNCTION public.runproof_refuse('S6_IMMUTABILITY_VIOLATION: aos_traces TRUNCATE not allowed.');

-- Once for each statement: a batch of steps asks for its traces with one query.
CREATE FUNCTION public.runproof_steps_insert() RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    step record;
BEGIN
    SELECT a.step_index, a.trace_id INTO step FROM added a
    WHERE NOT EXISTS (SELECT 1 FROM public.aos_traces t
        WHERE t.tenant_id = a.tenant_id AND t.trace_id = a.trace_id AND t.status = 'running')
    LIMIT 1;
    IF FOUND THEN
        RAISE EXCEPTION USING ERRCODE = 'restrict_violation', TABLE = 'aos_trace_steps', MESSAGE = format(
            'S6_IMMUTABILITY_VIOLATION: aos_trace_steps INSERT rejected for step_index=%s trace_id=%s. The trace does not exist or is not running.',
            step.step_index, step.trace_id);
    END IF;
    RETURN NULL;
END $$;
CREATE FUNCTION public.runproof_steps_update() RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    allowed public.aos_trace_steps := OLD;
BEGIN
    allowed.cost_cents := NEW.cost_cents;
    allowed.duration_ms := NEW.duration_ms;
    allowed.archived_at := NEW.archived_at;
    IF OLD.archived_at IS NOT NULL OR NEW.archived_at IS NULL OR NEW IS DISTINCT FROM allowed OR NOT EXISTS (
        SELECT 1 FROM public.aos_traces t
        WHERE t.tenant_id = OLD.tenant_id AND t.trace_id = OLD.trace_id AND t.status <> 'running')
    THEN
        RAISE EXCEPTION USING ERRCODE = 'restrict_violation', TABLE = 'aos_trace_steps', MESSAGE = format(
            'S6_IMMUTABILITY_VIOLATION: aos_trace_steps is immutable. UPDATE rejected for step_index=%s trace_id=%s. Only archival (archived_at: NULL -> timestamp) is permitted.',
            OLD.step_index, OLD.trace_id);
    END IF;
    RETURN NEW;
END $$;
CREATE FUNCTION public.runproof_steps_delete() RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    RAISE EXCEPTION USING ERRCODE = 'restrict_violation', TABLE = 'aos_trace_steps', MESSAGE = format(
        'S6_IMMUTABILITY_VIOLATION: aos_trace_steps direct DELETE not allowed. Use archival. step_index=%s trace_id=%s',
        OLD.step_index, OLD.trace_id);
END $$;
CREATE TRIGGER aos_trace_steps_insert AFTER INSERT ON public.aos_trace_steps REFERENCING NEW TABLE AS added
    FOR EACH STATEMENT EXECUTE FUNCTION public.runproof_steps_insert();
CREATE TRIGGER aos_trace_steps_update BEFORE UPDATE ON public.aos_trace_steps FOR EACH ROW
    EXECUTE FUNCTION public.runproof_steps_update();
CREATE TRIGGER aos_trace_steps_delete BEFORE DELETE ON public.aos_trace_steps FOR EACH ROW
    EXECUTE FUNCTION public.runproof_steps_delete();
CREATE TRIGGER aos_trace_steps_truncate BEFORE TRUNCATE ON public.aos_trace_steps
    EXECUTE FUNCTION public.runproof_refuse('S6_IMMUTABILITY_VIOLATION: aos_trace_steps TRUNCATE not allowed.');

-- One exception: a payload may lose a value whose erasure is on record. What is left is still checked by `proof`.
CREATE FUNCTION public.runproof_transitions_update() RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    allowed public.transitions := OLD;
BEGIN
    allowed.payloads := NEW.payloads;
    IF NEW IS DISTINCT FROM allowed OR NOT EXISTS (
        SELECT 1 FROM public.erasures e WHERE e.tenant_id = OLD.tenant_id AND 'run/' || e.run_id = OLD.stream
            AND e.seq >= OLD.first_seq AND e.seq < OLD.first_seq + OLD.event_count)
    THEN
        RAISE EXCEPTION USING ERRCODE = 'restrict_violation', TABLE = 'transitions',
            MESSAGE = 'S6_IMMUTABILITY_VIOLATION: transitions is append-only. UPDATE rejected. Only the erasure of a value whose erasure record exists is permitted.';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER transitions_update BEFORE UPDATE ON public.transitions FOR EACH ROW
    EXECUTE FUNCTION public.runproof_transitions_update();
CREATE TRIGGER transitions_delete BEFORE DELETE ON public.transitions FOR EACH ROW
    EXECUTE FUNCTION public.runproof_refuse('S6_IMMUTABILITY_VIOLATION: transitions is append-only. DELETE rejected.');
CREATE TRIGGER transitions_truncate BEFORE TRUNCATE ON public.transitions
    EXECUTE FUNCTION public.runproof_refuse('S6_IMMUTABILITY_VIOLATION: transitions is append-only. TRUNCATE rejected.');

-- A transaction takes its number before it is given an id. So whoever knows an id that was given out, and takes a number
-- then, has a higher number than every transaction with a lower id: this is what `ledger_head.settled_id` rests on.
CREATE FUNCTION public.runproof_transitions_number() RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    PERFORM pg_current_xact_id();
    RETURN NULL;
END $$;
CREATE TRIGGER transitions_number BEFORE INSERT ON public.transitions FOR EACH STATEMENT
    EXECUTE FUNCTION public.runproof_transitions_number();

CREATE TRIGGER leaves_update BEFORE UPDATE ON public.leaves FOR EACH ROW
    EXECUTE FUNCTION public.runproof_refuse('S6_IMMUTABILITY_VIOLATION: leaves is append-only. UPDATE rejected.');
CREATE TRIGGER leaves_delete BEFORE DELETE ON public.leaves FOR EACH ROW
    EXECUTE FUNCTION public.runproof_refuse('S6_IMMUTABILITY_VIOLATION: leaves is append-only. DELETE rejected.');
CREATE TRIGGER leaves_truncate BEFORE TRUNCATE ON public.leaves
    EXECUTE FUNCTION public.runproof_refuse('S6_IMMUTABILITY_VIOLATION: leaves is append-only. TRUNCATE rejected.');

CREATE TRIGGER run_seals_update BEFORE UPDATE ON public.run_seals FOR EACH ROW
    EXECUTE FUNCTION public.runproof_refuse('S6_IMMUTABILITY_VIOLATION: run_seals is append-only. UPDATE rejected.');
CREATE TRIGGER run_seals_delete BEFORE DELETE ON public.run_seals FOR EACH ROW
    EXECUTE FUNCTION public.runproof_refuse('S6_IMMUTABILITY_VIOLATION: run_seals is append-only. DELETE rejected.');
CREATE TRIGGER run_seals_truncate BEFORE TRUNCATE ON public.run_seals
    EXECUTE FUNCTION public.runproof_refuse('S6_IMMUTABILITY_VIOLATION: run_seals is append-only. TRUNCATE rejected.');

CREATE TRIGGER checkpoints_update BEFORE UPDATE ON public.checkpoints FOR EACH ROW
    EXECUTE FUNCTION public.runproof_refuse('S6_IMMUTABILITY_VIOLATION: checkpoints is append-only. UPDATE rejected.');
CREATE TRIGGER checkpoints_delete BEFORE DELETE ON public.checkpoints FOR EACH ROW
    EXECUTE FUNCTION public.runproof_refuse('S6_IMMUTABILITY_VIOLATION: checkpoints is append-only. DELETE rejected.');
CREATE TRIGGER checkpoints_truncate BEFORE TRUNCATE ON public.checkpoints
    EXECUTE FUNCTION public.runproof_refuse('S6_IMMUTABILITY_VIOLATION: checkpoints is append-only. TRUNCATE rejected.');

CREATE TRIGGER tenants_update BEFORE UPDATE ON public.tenants FOR EACH ROW
    EXECUTE FUNCTION public.runproof_refuse('tenants: rows cannot be changed');
CREATE TRIGGER tenants_delete BEFORE DELETE ON public.tenants FOR EACH ROW
    EXECUTE FUNCTION public.runproof_refuse('tenants: direct DELETE not allowed');
CREATE TRIGGER tenants_truncate BEFORE TRUNCATE ON public.tenants
    EXECUTE FUNCTION public.runproof_refuse('tenants: TRUNCATE not allowed');

CREATE TRIGGER agents_update BEFORE UPDATE ON public.agents FOR EACH ROW
    EXECUTE FUNCTION public.runproof_refuse('agents: rows cannot be changed');
CREATE TRIGGER agents_delete BEFORE DELETE ON public.agents FOR EACH ROW
    EXECUTE FUNCTION public.runproof_refuse('agents: direct DELETE not allowed');
CREATE TRIGGER agents_truncate BEFORE TRUNCATE ON public.agents
    EXECUTE FUNCTION public.runproof_refuse('agents: TRUNCATE not allowed');

CREATE TRIGGER erasures_update BEFORE UPDATE ON public.erasures FOR EACH ROW
    EXECUTE FUNCTION public.runproof_refuse('erasures: rows cannot be changed');
CREATE TRIGGER erasures_delete BEFORE DELETE ON public.erasures FOR EACH ROW
    EXECUTE FUNCTION public.runproof_refuse('erasures: direct DELETE not allowed');
CREATE TRIGGER erasures_truncate BEFORE TRUNCATE ON public.erasures
    EXECUTE FUNCTION public.runproof_refuse('erasures: TRUNCATE not allowed');

CREATE FUNCTION public.runproof_tiles_update() RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    allowed public.ledger_tiles := OLD;
BEGIN
    allowed.hashes := NEW.hashes;
    IF NEW IS DISTINCT FROM allowed OR length(NEW.hashes) <= length(OLD.hashes)
        OR substr(NEW.hashes, 1, length(OLD.hashes)) <> OLD.hashes
    THEN
        RAISE EXCEPTION USING ERRCODE = 'restrict_violation', TABLE = 'ledger_tiles',
            MESSAGE = 'S6_IMMUTABILITY_VIOLATION: ledger_tiles only grows. UPDATE rejected.';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER ledger_tiles_update BEFORE UPDATE ON public.ledger_tiles FOR EACH ROW
    EXECUTE FUNCTION public.runproof_tiles_update();
CREATE TRIGGER ledger_tiles_delete BEFORE DELETE ON public.ledger_tiles FOR EACH ROW
    EXECUTE FUNCTION public.runproof_refuse('S6_IMMUTABILITY_VIOLATION: ledger_tiles only grows. DELETE rejected.');
CREATE TRIGGER ledger_tiles_truncate BEFORE TRUNCATE ON public.ledger_tiles
    EXECUTE FUNCTION public.runproof_refuse('S6_IMMUTABILITY_VIOLATION: ledger_tiles only grows. TRUNCATE rejected.');

-- A head that goes back would give a leaf index out twice.
CREATE TRIGGER ledger_head_update BEFORE UPDATE ON public.ledger_head FOR EACH ROW
    WHEN (NEW."only" <> OLD."only" OR NEW.size < OLD.size OR NEW.settled_id < OLD.settled_id)
    EXECUTE FUNCTION public.runproof_refuse('ledger_head: cannot go back');
CREATE TRIGGER ledger_head_delete BEFORE DELETE ON public.ledger_head FOR EACH ROW
    EXECUTE FUNCTION public.runproof_refuse('ledger_head: direct DELETE not allowed');
CREATE TRIGGER ledger_head_truncate BEFORE TRUNCATE ON public.ledger_head
    EXECUTE FUNCTION public.runproof_refuse('ledger_head: TRUNCATE not allowed');
