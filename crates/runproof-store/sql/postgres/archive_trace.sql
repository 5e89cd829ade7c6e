-- Says in the trace since when it is archived.
UPDATE public.aos_traces SET archived_at = $3 WHERE tenant_id = $1 AND trace_id = $2;
