-- Requests without an answer about runs that a worker holds.
SELECT r.id, r.tenant_id, r.body FROM public.requests AS r
JOIN public.run_queue AS q ON q.tenant_id = r.tenant_id AND q.run_id = r.run_id
WHERE r.tenant_id = ANY($2::text[]) AND q.owner = $1 AND r.answer IS NULL
ORDER BY r.id LIMIT 256
