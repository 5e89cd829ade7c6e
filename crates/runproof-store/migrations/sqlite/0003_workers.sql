-- What runs are claimed by: the order within a tenant, limits on how many are going at once, and the level of the newest
-- event kind in the run, so that a version does not take what it cannot read.
ALTER TABLE run_queue ADD COLUMN priority INTEGER NOT NULL DEFAULT 5 CHECK (priority BETWEEN 0 AND 9);
ALTER TABLE run_queue ADD COLUMN agent_id TEXT NOT NULL DEFAULT '';
ALTER TABLE run_queue ADD COLUMN format INTEGER NOT NULL DEFAULT 1;
UPDATE run_queue SET agent_id = coalesce(
    (SELECT agent_id FROM runs WHERE runs.tenant_id = run_queue.tenant_id AND runs.id = run_queue.run_id), '');

DROP INDEX run_queue_due;
CREATE INDEX run_queue_claim ON run_queue (tenant_id, priority DESC, wake_at, run_id)
    WHERE owner IS NULL AND wake_at IS NOT NULL;
CREATE INDEX run_queue_held ON run_queue (tenant_id, agent_id) WHERE owner IS NOT NULL;

CREATE TABLE limits (
    tenant_id   TEXT    NOT NULL,
    agent_id    TEXT    NOT NULL,              -- '': the whole tenant
    max_running INTEGER NOT NULL CHECK (max_running >= 0),
    PRIMARY KEY (tenant_id, agent_id)
) STRICT, WITHOUT ROWID;

-- The run that a command is about; NULL: none. On Postgres, whoever holds the run answers.
ALTER TABLE requests ADD COLUMN run_id TEXT;
