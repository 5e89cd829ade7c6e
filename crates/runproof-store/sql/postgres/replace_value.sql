-- Sets a key of a tenant that has this version; otherwise no row changes.
UPDATE public.kv SET value = $3, version = $4, expires_at = $5 WHERE tenant_id = $1 AND key = $2 AND version = $6
