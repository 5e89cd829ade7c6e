-- What is stored under a key of a tenant, expired or not.
SELECT value, version, expires_at FROM public.kv WHERE tenant_id = $1 AND key = $2;
