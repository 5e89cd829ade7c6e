-- Rows that runs of a tenant share: the tenant, its agents, the newest checkpoint; table, and every stored column as JSON.
SELECT 'tenants', (pg_catalog.to_jsonb(found) - ARRAY(
    SELECT attname::text FROM pg_catalog.pg_attribute WHERE attrelid = 'public.tenants'::regclass AND attgenerated <> ''))::text
FROM public.tenants AS found WHERE id = $1
UNION ALL
SELECT 'agents', (pg_catalog.to_jsonb(found) - ARRAY(
    SELECT attname::text FROM pg_catalog.pg_attribute WHERE attrelid = 'public.agents'::regclass AND attgenerated <> ''))::text
FROM public.agents AS found WHERE tenant_id = $1
UNION ALL
SELECT 'checkpoints', (pg_catalog.to_jsonb(found) - ARRAY(
    SELECT attname::text FROM pg_catalog.pg_attribute WHERE attrelid = 'public.checkpoints'::regclass AND attgenerated <> ''))::text
FROM public.checkpoints AS found WHERE size = (SELECT max(size) FROM public.checkpoints);
