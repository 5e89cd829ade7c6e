-- Whose turn it is among due runs, limits on runs that are going at once, and requests about one run.
ALTER TABLE run_queue ADD COLUMN priority INTEGER NOT NULL DEFAULT 5;
ALTER TABLE run_queue ADD COLUMN agent_id TEXT NOT NULL DEFAULT '';
ALTER TABLE run_queue ADD COLUMN format INTEGER NOT NULL DEFAULT 1;   -- level of the newest event kind in the run
UPDATE run_queue SET agent_id = coalesce(
    (SELECT agent_id FROM runs WHERE runs.tenant_id = run_queue.tenant_id AND runs.id = run_queue.run_id), '');
CREATE INDEX run_queue_turn ON run_queue (tenant_id, priority DESC, wake_at, run_id)
    WHERE owner IS NULL AND wake_at IS NOT NULL;
CREATE INDEX run_queue_going ON run_queue (tenant_id, agent_id) WHERE owner IS NOT NULL;

CREATE TABLE limits (
    tenant_id   TEXT    NOT NULL,
    agent_id    TEXT    NOT NULL,              -- '': all runs of the tenant
    max_running INTEGER NOT NULL,
    PRIMARY KEY (tenant_id, agent_id)
) STRICT, WITHOUT ROWID;

ALTER TABLE requests ADD COLUMN run_id TEXT;   -- run that the request is about
