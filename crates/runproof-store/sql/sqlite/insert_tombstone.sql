-- What stays of a run.
INSERT INTO tombstones (tenant_id, run_id, run_no, leaves, seal, run_root, purged_at)
VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7);
