-- What a verification of the ledger keeps: how far it came, heads of the streams that are not runs, which leaves speak
-- of a run or an agent, and what it found. A file of its own, never a table of the database.
CREATE TABLE IF NOT EXISTS progress (only INTEGER PRIMARY KEY CHECK (only = 1), text TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS heads (
    tenant_id TEXT NOT NULL, stream TEXT NOT NULL, text TEXT NOT NULL, PRIMARY KEY (tenant_id, stream)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS records (
    tenant_id TEXT NOT NULL, subject TEXT NOT NULL, first_leaf INTEGER NOT NULL,
    PRIMARY KEY (tenant_id, subject, first_leaf)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS findings (number INTEGER PRIMARY KEY, text TEXT NOT NULL);
-- Runs that are archived or purged, and their leaves.
CREATE TABLE IF NOT EXISTS kept (tenant_id TEXT NOT NULL, run_id TEXT NOT NULL, PRIMARY KEY (tenant_id, run_id)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS absent (leaf INTEGER PRIMARY KEY, is_purged INTEGER NOT NULL);
