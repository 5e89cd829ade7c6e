-- Rows of the projections and of the seal under the keys of a run: table, and every stored column as JSON. $1 tenant, $2 run,
-- $3 its trace.
SELECT 'runs', (pg_catalog.to_jsonb(found) - ARRAY(
    SELECT attname::text FROM pg_catalog.pg_attribute WHERE attrelid = 'public.runs'::regclass AND attgenerated <> ''))::text
FROM public.runs AS found WHERE found.tenant_id = $1 AND found.id = $2
UNION ALL
SELECT 'aos_traces', (pg_catalog.to_jsonb(found) - ARRAY(
    SELECT attname::text FROM pg_catalog.pg_attribute WHERE attrelid = 'public.aos_traces'::regclass AND attgenerated <> ''))::text
FROM public.aos_traces AS found WHERE found.tenant_id = $1 AND found.trace_id = $3
UNION ALL
SELECT 'aos_trace_steps', (pg_catalog.to_jsonb(found) - ARRAY(
    SELECT attname::text FROM pg_catalog.pg_attribute WHERE attrelid = 'public.aos_trace_steps'::regclass AND attgenerated <> ''))::text
FROM public.aos_trace_steps AS found WHERE found.tenant_id = $1 AND found.trace_id = $3
UNION ALL
SELECT 'run_seals', (pg_catalog.to_jsonb(found) - ARRAY(
    SELECT attname::text FROM pg_catalog.pg_attribute WHERE attrelid = 'public.run_seals'::regclass AND attgenerated <> ''))::text
FROM public.run_seals AS found WHERE found.tenant_id = $1 AND found.run_id = $2
UNION ALL
SELECT 'erasures', (pg_catalog.to_jsonb(found) - ARRAY(
    SELECT attname::text FROM pg_catalog.pg_attribute WHERE attrelid = 'public.erasures'::regclass AND attgenerated <> ''))::text
FROM public.erasures AS found WHERE found.tenant_id = $1 AND found.run_id = $2
UNION ALL
SELECT 'holds', (pg_catalog.to_jsonb(found) - ARRAY(
    SELECT attname::text FROM pg_catalog.pg_attribute WHERE attrelid = 'public.holds'::regclass AND attgenerated <> ''))::text
FROM public.holds AS found WHERE found.tenant_id = $1 AND found.run_id = $2;
