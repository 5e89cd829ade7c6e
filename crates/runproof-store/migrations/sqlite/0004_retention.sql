-- What is kept of runs that are over: archives, tombstones, and holds that keep both steps off.

-- evidence ---------------------------------------------------------------------------------------------------------

-- A run as its proof bundle. Its rows may go while this one is there.
CREATE TABLE archives (
    tenant_id     TEXT    NOT NULL,
    run_id        TEXT    NOT NULL,
    run_no        INTEGER NOT NULL,
    leaves        TEXT    NOT NULL,                -- leaf indexes of its events, in order: '12-14,20'
    bundle        BLOB    NOT NULL,
    bundle_digest TEXT    NOT NULL,
    archived_at   TEXT    NOT NULL,
    PRIMARY KEY (tenant_id, run_id)
) STRICT;

-- What stays of a run for ever: its seal and its places.
CREATE TABLE tombstones (
    tenant_id TEXT    NOT NULL,
    run_id    TEXT    NOT NULL,
    run_no    INTEGER NOT NULL,
    leaves    TEXT    NOT NULL,
    seal      TEXT    NOT NULL,
    run_root  TEXT    NOT NULL,
    purged_at TEXT    NOT NULL,
    PRIMARY KEY (tenant_id, run_id)
) STRICT, WITHOUT ROWID;

-- projections ------------------------------------------------------------------------------------------------------

CREATE TABLE holds (
    tenant_id TEXT    NOT NULL,
    run_id    TEXT    NOT NULL,
    seq       INTEGER NOT NULL,                    -- of the event in the tenant's stream
    reason    TEXT    NOT NULL,
    placed_at TEXT    NOT NULL,
    lifted_at TEXT,
    PRIMARY KEY (tenant_id, run_id, seq)
) STRICT, WITHOUT ROWID;

-- rules ------------------------------------------------------------------------------------------------------------

CREATE TRIGGER archives_insert BEFORE INSERT ON archives BEGIN
    SELECT RAISE(ABORT, 'S6_IMMUTABILITY_VIOLATION: archives is append-only. INSERT rejected. The run is archived or purged.')
        WHERE EXISTS (SELECT 1 FROM archives WHERE tenant_id = NEW.tenant_id AND run_id = NEW.run_id)
           OR EXISTS (SELECT 1 FROM tombstones WHERE tenant_id = NEW.tenant_id AND run_id = NEW.run_id);
    SELECT RAISE(ABORT, 'archives: a run that is not over cannot be archived')
        WHERE NOT EXISTS (SELECT 1 FROM run_seals WHERE tenant_id = NEW.tenant_id AND run_id = NEW.run_id);
END;
CREATE TRIGGER archives_update BEFORE UPDATE ON archives BEGIN
    SELECT RAISE(ABORT, 'S6_IMMUTABILITY_VIOLATION: archives is append-only. UPDATE rejected.');
END;
CREATE TRIGGER archives_delete BEFORE DELETE ON archives
WHEN NOT EXISTS (SELECT 1 FROM tombstones WHERE tenant_id = OLD.tenant_id AND run_id = OLD.run_id)
  OR EXISTS (SELECT 1 FROM holds WHERE tenant_id = OLD.tenant_id AND run_id = OLD.run_id AND lifted_at IS NULL)
BEGIN
    SELECT RAISE(ABORT, 'S6_IMMUTABILITY_VIOLATION: archives direct DELETE not allowed. Purge the run.');
END;
CREATE TRIGGER tombstones_insert BEFORE INSERT ON tombstones BEGIN
    SELECT RAISE(ABORT, 'S6_IMMUTABILITY_VIOLATION: tombstones is append-only. INSERT rejected. The run is purged.')
        WHERE EXISTS (SELECT 1 FROM tombstones WHERE tenant_id = NEW.tenant_id AND run_id = NEW.run_id);
    SELECT RAISE(ABORT, 'tombstones: a run that is not archived cannot be purged')
        WHERE NOT EXISTS (SELECT 1 FROM archives WHERE tenant_id = NEW.tenant_id AND run_id = NEW.run_id);
END;
CREATE TRIGGER tombstones_update BEFORE UPDATE ON tombstones BEGIN
    SELECT RAISE(ABORT, 'S6_IMMUTABILITY_VIOLATION: tombstones is append-only. UPDATE rejected.');
END;
CREATE TRIGGER tombstones_delete BEFORE DELETE ON tombstones BEGIN
    SELECT RAISE(ABORT, 'S6_IMMUTABILITY_VIOLATION: tombstones is append-only. DELETE rejected.');
END;
CREATE TRIGGER holds_insert BEFORE INSERT ON holds
WHEN EXISTS (SELECT 1 FROM holds WHERE tenant_id = NEW.tenant_id AND run_id = NEW.run_id AND seq = NEW.seq) BEGIN
    SELECT RAISE(ABORT, 'holds: the hold exists');
END;
CREATE TRIGGER holds_update BEFORE UPDATE ON holds
WHEN NOT (
    OLD.lifted_at IS NULL AND NEW.lifted_at IS NOT NULL AND NEW.tenant_id IS OLD.tenant_id AND NEW.run_id IS OLD.run_id
    AND NEW.seq IS OLD.seq AND NEW.reason IS OLD.reason AND NEW.placed_at IS OLD.placed_at
)
BEGIN
    SELECT RAISE(ABORT, 'holds: a hold is lifted once, and nothing else of it changes');
END;
CREATE TRIGGER holds_delete BEFORE DELETE ON holds BEGIN
    SELECT RAISE(ABORT, 'holds: direct DELETE not allowed');
END;

-- Rows of a run may go while its archive is there and no hold is on it.
DROP TRIGGER runs_delete;
CREATE TRIGGER runs_delete BEFORE DELETE ON runs
WHEN NOT EXISTS (SELECT 1 FROM archives WHERE tenant_id = OLD.tenant_id AND run_id = OLD.id)
  OR EXISTS (SELECT 1 FROM holds WHERE tenant_id = OLD.tenant_id AND run_id = OLD.id AND lifted_at IS NULL)
BEGIN
    SELECT RAISE(ABORT, 'runs: direct DELETE not allowed');
END;
DROP TRIGGER aos_traces_delete;
CREATE TRIGGER aos_traces_delete BEFORE DELETE ON aos_traces
WHEN NOT EXISTS (SELECT 1 FROM archives WHERE tenant_id = OLD.tenant_id AND run_id = OLD.run_id)
  OR EXISTS (SELECT 1 FROM holds WHERE tenant_id = OLD.tenant_id AND run_id = OLD.run_id AND lifted_at IS NULL)
BEGIN
    SELECT RAISE(ABORT, 'S6_IMMUTABILITY_VIOLATION: aos_traces direct DELETE not allowed. Archive first using cleanup_old_traces().');
END;
DROP TRIGGER aos_trace_steps_delete;
CREATE TRIGGER aos_trace_steps_delete BEFORE DELETE ON aos_trace_steps
WHEN NOT EXISTS (SELECT 1 FROM archives WHERE tenant_id = OLD.tenant_id AND run_id = OLD.run_id)
  OR EXISTS (SELECT 1 FROM holds WHERE tenant_id = OLD.tenant_id AND run_id = OLD.run_id AND lifted_at IS NULL)
BEGIN
    SELECT RAISE(ABORT, 'S6_IMMUTABILITY_VIOLATION: aos_trace_steps direct DELETE not allowed. Use archival.');
END;
DROP TRIGGER transitions_delete;
CREATE TRIGGER transitions_delete BEFORE DELETE ON transitions
WHEN substr(OLD.stream, 1, 4) <> 'run/'
  OR NOT EXISTS (SELECT 1 FROM archives WHERE tenant_id = OLD.tenant_id AND run_id = substr(OLD.stream, 5))
  OR EXISTS (SELECT 1 FROM holds WHERE tenant_id = OLD.tenant_id AND run_id = substr(OLD.stream, 5) AND lifted_at IS NULL)
BEGIN
    SELECT RAISE(ABORT, 'S6_IMMUTABILITY_VIOLATION: transitions is append-only. DELETE rejected.');
END;
DROP TRIGGER run_seals_delete;
CREATE TRIGGER run_seals_delete BEFORE DELETE ON run_seals
WHEN NOT EXISTS (SELECT 1 FROM archives WHERE tenant_id = OLD.tenant_id AND run_id = OLD.run_id)
  OR EXISTS (SELECT 1 FROM holds WHERE tenant_id = OLD.tenant_id AND run_id = OLD.run_id AND lifted_at IS NULL)
BEGIN
    SELECT RAISE(ABORT, 'S6_IMMUTABILITY_VIOLATION: run_seals is append-only. DELETE rejected.');
END;
DROP TRIGGER erasures_delete;
CREATE TRIGGER erasures_delete BEFORE DELETE ON erasures
WHEN NOT EXISTS (SELECT 1 FROM archives WHERE tenant_id = OLD.tenant_id AND run_id = OLD.run_id)
  OR EXISTS (SELECT 1 FROM holds WHERE tenant_id = OLD.tenant_id AND run_id = OLD.run_id AND lifted_at IS NULL)
BEGIN
    SELECT RAISE(ABORT, 'erasures: direct DELETE not allowed');
END;
