-- Sets a key of a tenant that is not stored; otherwise no row changes.
INSERT INTO public.kv (tenant_id, key, value, version, expires_at) VALUES ($1, $2, $3, $4, $5)
ON CONFLICT (tenant_id, key) DO NOTHING
