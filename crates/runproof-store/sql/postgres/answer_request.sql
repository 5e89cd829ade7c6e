-- Answers a request.
UPDATE public.requests SET answer = $3 WHERE tenant_id = $1 AND id = $2 AND answer IS NULL
