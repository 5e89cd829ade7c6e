-- Holds of a tenant, in the order in which they were placed.
SELECT tenant_id, run_id, reason, placed_at, lifted_at FROM public.holds WHERE tenant_id = $1 ORDER BY seq;
