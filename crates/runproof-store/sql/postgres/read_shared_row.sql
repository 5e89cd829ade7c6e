-- A row of `tenants` (by id) or of `agents` (by tenant and id): table, and every stored column as JSON.
SELECT 'tenants', (pg_catalog.to_jsonb(found) - ARRAY(
    SELECT attname::text FROM pg_catalog.pg_attribute WHERE attrelid = 'public.tenants'::regclass AND attgenerated <> ''))::text
FROM public.tenants AS found WHERE $1 = 'tenants' AND id = $2
UNION ALL
SELECT 'agents', (pg_catalog.to_jsonb(found) - ARRAY(
    SELECT attname::text FROM pg_catalog.pg_attribute WHERE attrelid = 'public.agents'::regclass AND attgenerated <> ''))::text
FROM public.agents AS found WHERE $1 = 'agents' AND tenant_id = $2 AND id = $3;
