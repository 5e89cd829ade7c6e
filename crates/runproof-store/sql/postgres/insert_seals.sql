-- Arrays in the order of the projection's columns.
INSERT INTO public.run_seals (
    tenant_id, run_id, status, reason, event_count, step_count, run_root, seal_hash, attempts, cost_microcents, duration_us,
    resolved, unknown, sealed_at)
SELECT * FROM unnest(
    $1::text[], $2::text[], $3::text[], $4::text[], $5::bigint[], $6::bigint[], $7::text[], $8::text[], $9::bigint[],
    $10::bigint[], $11::bigint[], $12::bigint[], $13::bigint[], $14::text[])
