-- Changes only what can change; parameters are numbered as in insert_run.
UPDATE runs SET
    status = ?9, plan_json = ?12, plan_digest = ?13, attempts = ?20, wait_reason = ?21, wait_ref = ?22, wait_since = ?23,
    termination_reason = ?24, cost_microcents = ?25, duration_us = ?26, started_at = ?28, completed_at = ?29
WHERE tenant_id = ?1 AND id = ?2;
