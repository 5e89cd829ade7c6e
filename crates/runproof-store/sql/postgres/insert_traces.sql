-- Arrays in the order of the projection's columns.
INSERT INTO public.aos_traces (
    tenant_id, trace_id, run_id, agent_id, status, schema_version, started_at, completed_at, metadata, is_synthetic,
    synthetic_scenario_id, created_at, archived_at)
SELECT * FROM unnest(
    $1::text[], $2::text[], $3::text[], $4::text[], $5::text[], $6::text[], $7::text[], $8::text[], $9::text[],
    $10::bigint[], $11::text[], $12::text[], $13::text[])
