-- Removes a key of a tenant; with a version, only if it has it.
DELETE FROM public.kv WHERE tenant_id = $1 AND key = $2 AND ($3::bigint IS NULL OR version = $3)
