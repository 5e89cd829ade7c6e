-- Runs of a tenant that were over by then, oldest first.
SELECT id FROM public.runs WHERE tenant_id = $1 AND completed_at COLLATE "C" <= $2
ORDER BY completed_at COLLATE "C", id LIMIT $3;
