-- Changes only what can change; arrays are numbered as in insert_runs.
UPDATE public.runs AS r SET
    status = n.status, plan_json = n.plan_json, plan_digest = n.plan_digest, attempts = n.attempts,
    wait_reason = n.wait_reason, wait_ref = n.wait_ref, wait_since = n.wait_since,
    termination_reason = n.termination_reason, cost_microcents = n.cost_microcents, duration_us = n.duration_us,
    started_at = n.started_at, completed_at = n.completed_at
FROM unnest(
    $1::text[], $2::text[], $3::bigint[], $4::text[], $5::text[], $6::text[], $7::text[], $8::text[], $9::text[],
    $10::text[], $11::text[], $12::text[], $13::text[], $14::text[], $15::text[], $16::text[], $17::bigint[], $18::text[],
    $19::text[], $20::bigint[], $21::text[], $22::text[], $23::text[], $24::text[], $25::bigint[], $26::bigint[],
    $27::text[], $28::text[], $29::text[])
AS n(tenant_id, id, run_no, agent_id, origin_system_id, actor_type, actor_id, goal, status, planner, planner_version,
     plan_json, plan_digest, policy_set, parent_run_id, retry_of, is_synthetic, synthetic_scenario_id, trace_id, attempts,
     wait_reason, wait_ref, wait_since, termination_reason, cost_microcents, duration_us, created_at, started_at,
     completed_at)
WHERE r.tenant_id = n.tenant_id AND r.id = n.id
