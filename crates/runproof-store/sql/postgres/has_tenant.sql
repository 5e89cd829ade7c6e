-- Whether a tenant exists, and an agent of it.
SELECT EXISTS (SELECT 1 FROM public.tenants WHERE id = $1),
       EXISTS (SELECT 1 FROM public.agents WHERE tenant_id = $1 AND id = $2)
