-- Removes a request that has no answer.
DELETE FROM public.requests WHERE tenant_id = $1 AND id = $2 AND answer IS NULL
