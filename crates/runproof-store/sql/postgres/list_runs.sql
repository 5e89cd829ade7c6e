-- Newest runs first, of one tenant or of all that can be seen.
SELECT id, run_no, tenant_id, agent_id, status, wait_reason, wait_ref, created_at, completed_at FROM public.runs
WHERE $1::text IS NULL OR tenant_id = $1 ORDER BY created_at DESC, id DESC LIMIT $2;
