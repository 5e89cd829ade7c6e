-- Parameters in the order of the projection's columns.
INSERT INTO runs (
    tenant_id, id, run_no, agent_id, origin_system_id, actor_type, actor_id, goal, status, planner, planner_version,
    plan_json, plan_digest, policy_set, parent_run_id, retry_of, is_synthetic, synthetic_scenario_id, trace_id, attempts,
    wait_reason, wait_ref, wait_since, termination_reason, cost_microcents, duration_us, created_at, started_at, completed_at)
VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18, ?19, ?20, ?21, ?22, ?23, ?24, ?25,
        ?26, ?27, ?28, ?29);
