-- Table, tenant and id of every row of a projection whose stream has no transition, and of every place that no transition
-- has, and no archive and no tombstone.
SELECT 'runs', found.tenant_id, found.id FROM public.runs AS found
WHERE NOT EXISTS (
    SELECT 1 FROM public.transitions AS other
    WHERE other.tenant_id = found.tenant_id AND other.stream = 'run/' || found.id)
UNION ALL
SELECT 'aos_traces', found.tenant_id, found.trace_id FROM public.aos_traces AS found
WHERE NOT EXISTS (
    SELECT 1 FROM public.transitions AS other
    WHERE other.tenant_id = found.tenant_id AND other.stream = 'run/' || substr(found.trace_id, 7) AND found.trace_id = 'trace_' || substr(found.trace_id, 7))
UNION ALL
SELECT DISTINCT 'aos_trace_steps', found.tenant_id, found.trace_id FROM public.aos_trace_steps AS found
WHERE NOT EXISTS (
    SELECT 1 FROM public.transitions AS other
    WHERE other.tenant_id = found.tenant_id AND other.stream = 'run/' || substr(found.trace_id, 7) AND found.trace_id = 'trace_' || substr(found.trace_id, 7))
UNION ALL
SELECT 'run_seals', found.tenant_id, found.run_id FROM public.run_seals AS found
WHERE NOT EXISTS (
    SELECT 1 FROM public.transitions AS other
    WHERE other.tenant_id = found.tenant_id AND other.stream = 'run/' || found.run_id)
UNION ALL
SELECT DISTINCT 'erasures', found.tenant_id, found.run_id FROM public.erasures AS found
WHERE NOT EXISTS (
    SELECT 1 FROM public.transitions AS other
    WHERE other.tenant_id = found.tenant_id AND other.stream = 'run/' || found.run_id)
UNION ALL
SELECT 'tenants', found.id, found.id FROM public.tenants AS found
WHERE NOT EXISTS (
    SELECT 1 FROM public.transitions AS other WHERE other.tenant_id = found.id AND other.stream = 'tenant/' || found.id)
UNION ALL
SELECT 'leaves', found.tenant_id, 'first_leaf=' || found.first_leaf FROM public.leaves AS found
WHERE NOT EXISTS (
    SELECT 1 FROM public.transitions AS other
    WHERE other.tenant_id = found.tenant_id AND other.stream = found.stream AND other.first_seq = found.first_seq)
  AND NOT EXISTS (SELECT 1 FROM public.archives AS other WHERE other.tenant_id = found.tenant_id AND other.run_id = substr(found.stream, 5) AND found.stream LIKE 'run/%')
  AND NOT EXISTS (SELECT 1 FROM public.tombstones AS other WHERE other.tenant_id = found.tenant_id AND other.run_id = substr(found.stream, 5) AND found.stream LIKE 'run/%')
UNION ALL
SELECT DISTINCT 'holds', found.tenant_id, found.run_id FROM public.holds AS found
WHERE NOT EXISTS (
    SELECT 1 FROM public.transitions AS other
    WHERE other.tenant_id = found.tenant_id AND other.stream = 'run/' || found.run_id)
  AND NOT EXISTS (SELECT 1 FROM public.archives AS other WHERE other.tenant_id = found.tenant_id AND other.run_id = found.run_id)
  AND NOT EXISTS (SELECT 1 FROM public.tombstones AS other WHERE other.tenant_id = found.tenant_id AND other.run_id = found.run_id)
