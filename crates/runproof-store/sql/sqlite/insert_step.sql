-- Parameters in the order of the projection's columns.
INSERT INTO aos_trace_steps (
    tenant_id, trace_id, step_index, run_id, step_id, item, plan_index, skill_id, skill_name, status, outcome_category,
    outcome_code, cost_microcents, duration_us, retry_count, idempotency_key, source, level, is_synthetic,
    synthetic_scenario_id, timestamp, archived_at)
VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18, ?19, ?20, ?21, ?22);
