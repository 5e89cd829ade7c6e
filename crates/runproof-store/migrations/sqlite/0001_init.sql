-- The first schema of the embedded store. Kinds of tables (evidence, projection, operational): docs/spec/tables.md.
-- Texts in RAISE are constants: an expression there would make the file unreadable for SQLite 3.40.

-- evidence ---------------------------------------------------------------------------------------------------------

-- One row is what committed together in one stream: events as canonical JSON lines, payload lines beside them.
CREATE TABLE transitions (
    first_leaf  INTEGER PRIMARY KEY,           -- leaf index of the first event: the table is the ledger in order
    tenant_id   TEXT    NOT NULL,              -- '' in the log's own stream
    stream      TEXT    NOT NULL,
    first_seq   INTEGER NOT NULL CHECK (first_seq >= 0),
    event_count INTEGER NOT NULL CHECK (event_count > 0),
    events      TEXT    NOT NULL,
    payloads    TEXT    NOT NULL,
    UNIQUE (tenant_id, stream, first_seq)
) STRICT;

CREATE TABLE run_seals (
    tenant_id       TEXT    NOT NULL,
    run_id          TEXT    NOT NULL,
    status          TEXT    NOT NULL CHECK (status IN ('succeeded', 'failed', 'halted', 'cancelled')),
    reason          TEXT    NOT NULL,
    event_count     INTEGER NOT NULL,
    step_count      INTEGER NOT NULL,
    run_root        TEXT    NOT NULL,
    seal_hash       TEXT    NOT NULL,
    attempts        INTEGER NOT NULL,
    cost_microcents INTEGER NOT NULL,
    duration_us     INTEGER NOT NULL,
    resolved        INTEGER NOT NULL,
    unknown         INTEGER NOT NULL,
    sealed_at       TEXT    NOT NULL,
    PRIMARY KEY (tenant_id, run_id)
) STRICT, WITHOUT ROWID;

CREATE TABLE checkpoints (
    size      INTEGER PRIMARY KEY,
    root      TEXT NOT NULL,
    note      TEXT NOT NULL
) STRICT;

-- projections ------------------------------------------------------------------------------------------------------

CREATE TABLE tenants (
    id         TEXT PRIMARY KEY NOT NULL,
    created_at TEXT NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE agents (
    tenant_id  TEXT NOT NULL,
    id         TEXT NOT NULL,
    name       TEXT NOT NULL,
    created_at TEXT NOT NULL,
    PRIMARY KEY (tenant_id, id)
) STRICT, WITHOUT ROWID;

CREATE TABLE runs (
    tenant_id             TEXT    NOT NULL,
    id                    TEXT    NOT NULL,
    run_no                INTEGER,
    agent_id              TEXT    NOT NULL CHECK (trim(agent_id) <> ''),
    origin_system_id      TEXT    NOT NULL CHECK (trim(origin_system_id, ' ' || char(9, 10, 13)) <> ''),
    actor_type            TEXT    NOT NULL DEFAULT 'system' CHECK (actor_type IN ('human', 'system', 'service')),
    actor_id              TEXT,
    goal                  TEXT,                      -- NULL once it was erased
    status                TEXT    NOT NULL DEFAULT 'queued' CHECK (status IN (
        'queued', 'running', 'retry', 'pending_approval', 'waiting', 'succeeded', 'failed', 'halted', 'cancelled')),
    planner               TEXT,
    planner_version       TEXT,
    plan_json             TEXT,
    plan_digest           TEXT,
    policy_set            TEXT,
    parent_run_id         TEXT,
    retry_of              TEXT,
    is_synthetic          INTEGER NOT NULL DEFAULT 0 CHECK (is_synthetic IN (0, 1)),
    synthetic_scenario_id TEXT,
    trace_id              TEXT,
    attempts              INTEGER NOT NULL DEFAULT 0,
    wait_reason           TEXT,
    wait_ref              TEXT,
    wait_since            TEXT,
    termination_reason    TEXT,
    cost_microcents       INTEGER,
    duration_us           INTEGER,
    created_at            TEXT    NOT NULL DEFAULT (strftime('%Y-%m-%dT%H:%M:%fZ', 'now')),
    started_at            TEXT,
    completed_at          TEXT,
    cost_cents            REAL GENERATED ALWAYS AS (cost_microcents / 1000000.0) VIRTUAL,
    duration_ms           REAL GENERATED ALWAYS AS (duration_us / 1000.0) VIRTUAL,
    PRIMARY KEY (tenant_id, id),
    UNIQUE (tenant_id, run_no),
    CHECK (goal IS NOT NULL OR status IN ('succeeded', 'failed', 'halted', 'cancelled')),
    CHECK ((is_synthetic = 1) = (synthetic_scenario_id IS NOT NULL)),
    CHECK (actor_type <> 'human' OR trim(coalesce(actor_id, '')) <> '')
) STRICT;

CREATE TABLE aos_traces (
    tenant_id             TEXT    NOT NULL,
    trace_id              TEXT    NOT NULL,
    run_id                TEXT    NOT NULL,
    agent_id              TEXT,
    status                TEXT    NOT NULL CHECK (status IN ('running', 'completed', 'failed', 'aborted')),
    schema_version        TEXT    NOT NULL,
    started_at            TEXT    NOT NULL,
    completed_at          TEXT,
    metadata              TEXT,
    is_synthetic          INTEGER NOT NULL DEFAULT 0,
    synthetic_scenario_id TEXT,
    created_at            TEXT    NOT NULL,
    archived_at           TEXT,
    PRIMARY KEY (tenant_id, trace_id),
    CHECK ((is_synthetic = 1) = (synthetic_scenario_id IS NOT NULL))
) STRICT;

CREATE TABLE aos_trace_steps (
    tenant_id             TEXT    NOT NULL,
    trace_id              TEXT    NOT NULL,
    step_index            INTEGER NOT NULL CHECK (step_index >= 0),
    run_id                TEXT    NOT NULL,
    step_id               TEXT    NOT NULL,
    item                  TEXT,
    plan_index            INTEGER NOT NULL,
    skill_id              TEXT    NOT NULL,
    skill_name            TEXT    NOT NULL,
    status                TEXT    NOT NULL CHECK (status IN ('success', 'failure', 'skipped', 'unknown', 'retry')),
    outcome_category      TEXT    NOT NULL,
    outcome_code          TEXT,
    cost_microcents       INTEGER NOT NULL CHECK (cost_microcents >= 0),
    duration_us           INTEGER NOT NULL CHECK (duration_us >= 0),
    retry_count           INTEGER NOT NULL CHECK (retry_count >= 0),
    idempotency_key       TEXT,
    source                TEXT    NOT NULL CHECK (source IN ('engine', 'external', 'import')),
    level                 TEXT    NOT NULL CHECK (level IN ('INFO', 'WARN', 'ERROR')),
    is_synthetic          INTEGER NOT NULL DEFAULT 0,
    synthetic_scenario_id TEXT,
    timestamp             TEXT    NOT NULL,
    archived_at           TEXT,
    cost_cents            REAL GENERATED ALWAYS AS (cost_microcents / 1000000.0) VIRTUAL,
    duration_ms           REAL GENERATED ALWAYS AS (duration_us / 1000.0) VIRTUAL,
    PRIMARY KEY (tenant_id, trace_id, step_index),
    CHECK (status <> 'retry' OR source = 'import'),
    CHECK ((is_synthetic = 1) = (synthetic_scenario_id IS NOT NULL))
) STRICT, WITHOUT ROWID;

CREATE TABLE erasures (
    tenant_id  TEXT    NOT NULL,
    run_id     TEXT    NOT NULL,
    seq        INTEGER NOT NULL,
    field      TEXT    NOT NULL,
    part_index INTEGER NOT NULL,               -- -1: every part
    erased_at  TEXT    NOT NULL,
    PRIMARY KEY (tenant_id, run_id, seq, field, part_index)
) STRICT, WITHOUT ROWID;

-- Hash tiles of the ledger, 256 hashes of 32 bytes at most; the last tile of a level grows.
CREATE TABLE ledger_tiles (
    level  INTEGER NOT NULL,
    tile   INTEGER NOT NULL,
    hashes BLOB    NOT NULL,
    PRIMARY KEY (level, tile)
) STRICT;

-- operational ------------------------------------------------------------------------------------------------------

CREATE TABLE ledger (
    only       INTEGER PRIMARY KEY CHECK (only = 1),
    origin     TEXT NOT NULL,
    vkey       TEXT NOT NULL,
    created_at TEXT NOT NULL
) STRICT;

-- Heads of the streams that are not runs; `runs` counts the run numbers given out.
CREATE TABLE stream_heads (
    tenant_id TEXT    NOT NULL,
    stream    TEXT    NOT NULL,
    next_seq  INTEGER NOT NULL,
    head      TEXT    NOT NULL,
    last_at   INTEGER NOT NULL,
    runs      INTEGER NOT NULL,
    PRIMARY KEY (tenant_id, stream)
) STRICT, WITHOUT ROWID;

CREATE TABLE run_queue (
    tenant_id TEXT    NOT NULL,
    run_id    TEXT    NOT NULL,
    owner     TEXT,
    epoch     INTEGER NOT NULL,
    next_seq  INTEGER NOT NULL,
    head      TEXT    NOT NULL,
    wake_at   INTEGER,                         -- microseconds; NULL: not before somebody acts
    PRIMARY KEY (tenant_id, run_id)
) STRICT, WITHOUT ROWID;
CREATE INDEX run_queue_due ON run_queue (wake_at) WHERE owner IS NULL AND wake_at IS NOT NULL;

CREATE TABLE idempotency_keys (
    tenant_id TEXT NOT NULL,
    key       TEXT NOT NULL,
    digest    TEXT NOT NULL,
    run_id    TEXT NOT NULL,
    PRIMARY KEY (tenant_id, key)
) STRICT, WITHOUT ROWID;

-- Commands left for the process that holds the engine lock.
CREATE TABLE requests (
    id         INTEGER PRIMARY KEY,
    tenant_id  TEXT NOT NULL,
    body       TEXT NOT NULL,
    answer     TEXT,
    created_at TEXT NOT NULL DEFAULT (strftime('%Y-%m-%dT%H:%M:%fZ', 'now'))
) STRICT;

CREATE TABLE kv (
    tenant_id TEXT    NOT NULL,
    key       TEXT    NOT NULL,
    value     TEXT    NOT NULL,
    version   INTEGER NOT NULL,
    PRIMARY KEY (tenant_id, key)
) STRICT, WITHOUT ROWID;

-- rules ------------------------------------------------------------------------------------------------------------

-- INSERT OR REPLACE deletes the row in its way without firing a DELETE trigger: a key that is taken is refused before.
CREATE TRIGGER runs_insert BEFORE INSERT ON runs BEGIN
    SELECT RAISE(ABORT, 'origin_system_id cannot be ''legacy-migration'' for new runs (use real system identifier)')
        WHERE NEW.origin_system_id = 'legacy-migration';
    SELECT RAISE(ABORT, 'agent_id cannot be ''legacy-unknown'' for new runs (use real agent identifier)')
        WHERE NEW.agent_id = 'legacy-unknown';
    SELECT RAISE(ABORT, 'runs: a run with this id or number exists')
        WHERE EXISTS (SELECT 1 FROM runs WHERE tenant_id = NEW.tenant_id AND (id = NEW.id OR run_no = NEW.run_no));
END;
-- One exception: the goal or the plan of a run that is over becomes NULL when its erasure is on record.
CREATE TRIGGER runs_update BEFORE UPDATE ON runs BEGIN
    SELECT RAISE(ABORT, 'runs: a run that is over cannot be changed')
        WHERE OLD.status IN ('succeeded', 'failed', 'halted', 'cancelled') AND NOT (
            (NEW.goal IS OLD.goal OR (NEW.goal IS NULL AND EXISTS (
                SELECT 1 FROM erasures WHERE tenant_id = OLD.tenant_id AND run_id = OLD.id AND field = 'goal')))
            AND (NEW.plan_json IS OLD.plan_json OR (NEW.plan_json IS NULL AND EXISTS (
                SELECT 1 FROM erasures WHERE tenant_id = OLD.tenant_id AND run_id = OLD.id AND field = 'plan')))
            AND NEW.status IS OLD.status AND NEW.planner IS OLD.planner AND NEW.planner_version IS OLD.planner_version
            AND NEW.plan_digest IS OLD.plan_digest AND NEW.policy_set IS OLD.policy_set
            AND NEW.parent_run_id IS OLD.parent_run_id AND NEW.retry_of IS OLD.retry_of AND NEW.trace_id IS OLD.trace_id
            AND NEW.attempts IS OLD.attempts AND NEW.wait_reason IS OLD.wait_reason AND NEW.wait_ref IS OLD.wait_ref
            AND NEW.wait_since IS OLD.wait_since AND NEW.termination_reason IS OLD.termination_reason
            AND NEW.cost_microcents IS OLD.cost_microcents AND NEW.duration_us IS OLD.duration_us
            AND NEW.started_at IS OLD.started_at AND NEW.completed_at IS OLD.completed_at);
    SELECT RAISE(ABORT, 'runs: who, what and where from cannot be changed')
        WHERE NEW.tenant_id IS NOT OLD.tenant_id OR NEW.id IS NOT OLD.id OR NEW.run_no IS NOT OLD.run_no
           OR NEW.agent_id IS NOT OLD.agent_id OR NEW.origin_system_id IS NOT OLD.origin_system_id
           OR NEW.actor_type IS NOT OLD.actor_type OR NEW.actor_id IS NOT OLD.actor_id
           OR (NEW.goal IS NOT OLD.goal AND OLD.status NOT IN ('succeeded', 'failed', 'halted', 'cancelled'))
           OR NEW.is_synthetic IS NOT OLD.is_synthetic OR NEW.synthetic_scenario_id IS NOT OLD.synthetic_scenario_id
           OR NEW.created_at IS NOT OLD.created_at;
END;
CREATE TRIGGER runs_delete BEFORE DELETE ON runs BEGIN
    SELECT RAISE(ABORT, 'runs: direct DELETE not allowed');
END;

CREATE TRIGGER aos_traces_insert BEFORE INSERT ON aos_traces
WHEN EXISTS (SELECT 1 FROM aos_traces WHERE tenant_id = NEW.tenant_id AND trace_id = NEW.trace_id) BEGIN
    SELECT RAISE(ABORT, 'S6_IMMUTABILITY_VIOLATION: aos_traces is immutable. INSERT rejected. The trace exists.');
END;
CREATE TRIGGER aos_traces_update BEFORE UPDATE ON aos_traces
WHEN NOT (
    NEW.tenant_id IS OLD.tenant_id AND NEW.trace_id IS OLD.trace_id AND NEW.run_id IS OLD.run_id
    AND NEW.agent_id IS OLD.agent_id AND NEW.schema_version IS OLD.schema_version AND NEW.started_at IS OLD.started_at
    AND NEW.is_synthetic IS OLD.is_synthetic AND NEW.synthetic_scenario_id IS OLD.synthetic_scenario_id
    AND NEW.created_at IS OLD.created_at
    AND (
        (NEW.archived_at IS OLD.archived_at AND OLD.status = 'running' AND NEW.status IN ('completed', 'failed', 'aborted')
            AND OLD.completed_at IS NULL)
        OR (OLD.archived_at IS NULL AND NEW.archived_at IS NOT NULL AND OLD.status <> 'running'
            AND NEW.status IS OLD.status AND NEW.completed_at IS OLD.completed_at AND NEW.metadata IS OLD.metadata)
    )
)
BEGIN
    SELECT RAISE(ABORT, 'S6_IMMUTABILITY_VIOLATION: aos_traces is immutable. UPDATE rejected. Only archival (archived_at: NULL -> timestamp) or completion (status/completed_at/metadata only) is permitted.');
END;
CREATE TRIGGER aos_traces_delete BEFORE DELETE ON aos_traces BEGIN
    SELECT RAISE(ABORT, 'S6_IMMUTABILITY_VIOLATION: aos_traces direct DELETE not allowed. Archive first using cleanup_old_traces().');
END;

CREATE TRIGGER aos_trace_steps_insert BEFORE INSERT ON aos_trace_steps BEGIN
    SELECT RAISE(ABORT, 'S6_IMMUTABILITY_VIOLATION: aos_trace_steps INSERT rejected. The trace does not exist or is not running.')
        WHERE NOT EXISTS (SELECT 1 FROM aos_traces WHERE tenant_id = NEW.tenant_id AND trace_id = NEW.trace_id AND status = 'running');
    SELECT RAISE(ABORT, 'S6_IMMUTABILITY_VIOLATION: aos_trace_steps is immutable. INSERT rejected. The step exists.')
        WHERE EXISTS (
            SELECT 1 FROM aos_trace_steps
            WHERE tenant_id = NEW.tenant_id AND trace_id = NEW.trace_id AND step_index = NEW.step_index);
END;
CREATE TRIGGER aos_trace_steps_update BEFORE UPDATE ON aos_trace_steps
WHEN NOT (
    OLD.archived_at IS NULL AND NEW.archived_at IS NOT NULL
    AND NEW.tenant_id IS OLD.tenant_id AND NEW.trace_id IS OLD.trace_id AND NEW.step_index IS OLD.step_index
    AND NEW.run_id IS OLD.run_id AND NEW.step_id IS OLD.step_id AND NEW.item IS OLD.item
    AND NEW.plan_index IS OLD.plan_index AND NEW.skill_id IS OLD.skill_id AND NEW.skill_name IS OLD.skill_name
    AND NEW.status IS OLD.status AND NEW.outcome_category IS OLD.outcome_category AND NEW.outcome_code IS OLD.outcome_code
    AND NEW.cost_microcents IS OLD.cost_microcents AND NEW.duration_us IS OLD.duration_us
    AND NEW.retry_count IS OLD.retry_count AND NEW.idempotency_key IS OLD.idempotency_key AND NEW.source IS OLD.source
    AND NEW.level IS OLD.level AND NEW.is_synthetic IS OLD.is_synthetic
    AND NEW.synthetic_scenario_id IS OLD.synthetic_scenario_id AND NEW.timestamp IS OLD.timestamp
    AND EXISTS (SELECT 1 FROM aos_traces WHERE tenant_id = OLD.tenant_id AND trace_id = OLD.trace_id AND status <> 'running')
)
BEGIN
    SELECT RAISE(ABORT, 'S6_IMMUTABILITY_VIOLATION: aos_trace_steps is immutable. UPDATE rejected. Only archival (archived_at: NULL -> timestamp) is permitted.');
END;
CREATE TRIGGER aos_trace_steps_delete BEFORE DELETE ON aos_trace_steps BEGIN
    SELECT RAISE(ABORT, 'S6_IMMUTABILITY_VIOLATION: aos_trace_steps direct DELETE not allowed. Use archival.');
END;

CREATE TRIGGER transitions_insert BEFORE INSERT ON transitions
WHEN EXISTS (
    SELECT 1 FROM transitions WHERE first_leaf = NEW.first_leaf
        OR (tenant_id = NEW.tenant_id AND stream = NEW.stream AND first_seq = NEW.first_seq))
BEGIN
    SELECT RAISE(ABORT, 'S6_IMMUTABILITY_VIOLATION: transitions is append-only. INSERT rejected. The place is taken.');
END;
-- One exception: a payload may lose a value whose erasure is on record. What is left is still checked by `proof`.
CREATE TRIGGER transitions_update BEFORE UPDATE ON transitions
WHEN NOT (
    NEW.first_leaf IS OLD.first_leaf AND NEW.tenant_id IS OLD.tenant_id AND NEW.stream IS OLD.stream
    AND NEW.first_seq IS OLD.first_seq AND NEW.event_count IS OLD.event_count AND NEW.events IS OLD.events
    AND EXISTS (SELECT 1 FROM erasures WHERE tenant_id = OLD.tenant_id AND 'run/' || run_id = OLD.stream
                AND seq >= OLD.first_seq AND seq < OLD.first_seq + OLD.event_count)
)
BEGIN
    SELECT RAISE(ABORT, 'S6_IMMUTABILITY_VIOLATION: transitions is append-only. UPDATE rejected. Only the erasure of a value whose erasure record exists is permitted.');
END;
CREATE TRIGGER transitions_delete BEFORE DELETE ON transitions BEGIN
    SELECT RAISE(ABORT, 'S6_IMMUTABILITY_VIOLATION: transitions is append-only. DELETE rejected.');
END;
CREATE TRIGGER run_seals_insert BEFORE INSERT ON run_seals
WHEN EXISTS (SELECT 1 FROM run_seals WHERE tenant_id = NEW.tenant_id AND run_id = NEW.run_id) BEGIN
    SELECT RAISE(ABORT, 'S6_IMMUTABILITY_VIOLATION: run_seals is append-only. INSERT rejected. The run is sealed.');
END;
CREATE TRIGGER run_seals_update BEFORE UPDATE ON run_seals BEGIN
    SELECT RAISE(ABORT, 'S6_IMMUTABILITY_VIOLATION: run_seals is append-only. UPDATE rejected.');
END;
CREATE TRIGGER run_seals_delete BEFORE DELETE ON run_seals BEGIN
    SELECT RAISE(ABORT, 'S6_IMMUTABILITY_VIOLATION: run_seals is append-only. DELETE rejected.');
END;
CREATE TRIGGER checkpoints_insert BEFORE INSERT ON checkpoints
WHEN EXISTS (SELECT 1 FROM checkpoints WHERE size = NEW.size) BEGIN
    SELECT RAISE(ABORT, 'S6_IMMUTABILITY_VIOLATION: checkpoints is append-only. INSERT rejected. The size is signed.');
END;
CREATE TRIGGER checkpoints_update BEFORE UPDATE ON checkpoints BEGIN
    SELECT RAISE(ABORT, 'S6_IMMUTABILITY_VIOLATION: checkpoints is append-only. UPDATE rejected.');
END;
CREATE TRIGGER checkpoints_delete BEFORE DELETE ON checkpoints BEGIN
    SELECT RAISE(ABORT, 'S6_IMMUTABILITY_VIOLATION: checkpoints is append-only. DELETE rejected.');
END;
CREATE TRIGGER tenants_insert BEFORE INSERT ON tenants
WHEN EXISTS (SELECT 1 FROM tenants WHERE id = NEW.id) BEGIN
    SELECT RAISE(ABORT, 'tenants: a tenant with this id exists');
END;
CREATE TRIGGER tenants_update BEFORE UPDATE ON tenants BEGIN
    SELECT RAISE(ABORT, 'tenants: rows cannot be changed');
END;
CREATE TRIGGER tenants_delete BEFORE DELETE ON tenants BEGIN
    SELECT RAISE(ABORT, 'tenants: direct DELETE not allowed');
END;
CREATE TRIGGER agents_insert BEFORE INSERT ON agents
WHEN EXISTS (SELECT 1 FROM agents WHERE tenant_id = NEW.tenant_id AND id = NEW.id) BEGIN
    SELECT RAISE(ABORT, 'agents: an agent with this id exists');
END;
CREATE TRIGGER agents_update BEFORE UPDATE ON agents BEGIN
    SELECT RAISE(ABORT, 'agents: rows cannot be changed');
END;
CREATE TRIGGER agents_delete BEFORE DELETE ON agents BEGIN
    SELECT RAISE(ABORT, 'agents: direct DELETE not allowed');
END;
CREATE TRIGGER erasures_insert BEFORE INSERT ON erasures
WHEN EXISTS (SELECT 1 FROM erasures WHERE tenant_id = NEW.tenant_id AND run_id = NEW.run_id AND seq = NEW.seq AND field = NEW.field
        AND part_index = NEW.part_index) BEGIN
    SELECT RAISE(ABORT, 'erasures: the value was erased before');
END;
CREATE TRIGGER erasures_update BEFORE UPDATE ON erasures BEGIN
    SELECT RAISE(ABORT, 'erasures: rows cannot be changed');
END;
CREATE TRIGGER erasures_delete BEFORE DELETE ON erasures BEGIN
    SELECT RAISE(ABORT, 'erasures: direct DELETE not allowed');
END;
CREATE TRIGGER ledger_tiles_insert BEFORE INSERT ON ledger_tiles
WHEN EXISTS (
    SELECT 1 FROM ledger_tiles WHERE level = NEW.level AND tile = NEW.tile
        AND NOT (length(NEW.hashes) > length(hashes) AND substr(NEW.hashes, 1, length(hashes)) = hashes))
BEGIN
    SELECT RAISE(ABORT, 'S6_IMMUTABILITY_VIOLATION: ledger_tiles only grows. INSERT rejected.');
END;
CREATE TRIGGER ledger_tiles_update BEFORE UPDATE ON ledger_tiles
WHEN NOT (
    NEW.level = OLD.level AND NEW.tile = OLD.tile AND length(NEW.hashes) > length(OLD.hashes)
    AND substr(NEW.hashes, 1, length(OLD.hashes)) = OLD.hashes
)
BEGIN
    SELECT RAISE(ABORT, 'S6_IMMUTABILITY_VIOLATION: ledger_tiles only grows. UPDATE rejected.');
END;
CREATE TRIGGER ledger_tiles_delete BEFORE DELETE ON ledger_tiles BEGIN
    SELECT RAISE(ABORT, 'S6_IMMUTABILITY_VIOLATION: ledger_tiles only grows. DELETE rejected.');
END;
