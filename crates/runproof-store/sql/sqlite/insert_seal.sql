-- Parameters in the order of the projection's columns.
INSERT INTO run_seals (
    tenant_id, run_id, status, reason, event_count, step_count, run_root, seal_hash, attempts, cost_microcents, duration_us,
    resolved, unknown, sealed_at)
VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14);
