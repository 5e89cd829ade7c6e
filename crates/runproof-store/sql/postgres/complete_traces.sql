-- Completes traces, once; arrays are numbered as in insert_traces.
UPDATE public.aos_traces AS r SET status = n.status, completed_at = n.completed_at, metadata = n.metadata
FROM unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::text[], $6::text[], $7::text[], $8::text[], $9::text[])
    AS n(tenant_id, trace_id, run_id, agent_id, status, schema_version, started_at, completed_at, metadata)
WHERE r.tenant_id = n.tenant_id AND r.trace_id = n.trace_id
