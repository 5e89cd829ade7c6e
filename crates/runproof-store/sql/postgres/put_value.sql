-- Sets a key of a tenant, whatever is stored under it.
INSERT INTO public.kv (tenant_id, key, value, version, expires_at) VALUES ($1, $2, $3, $4, $5)
ON CONFLICT (tenant_id, key) DO UPDATE
SET value = excluded.value, version = excluded.version, expires_at = excluded.expires_at
