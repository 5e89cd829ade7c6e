-- The answer to a request, once there is one; reading it removes the request.
DELETE FROM public.requests WHERE tenant_id = $1 AND id = $2 AND answer IS NOT NULL RETURNING answer
