-- The same for its steps.
UPDATE public.aos_trace_steps SET archived_at = $3 WHERE tenant_id = $1 AND trace_id = $2;
