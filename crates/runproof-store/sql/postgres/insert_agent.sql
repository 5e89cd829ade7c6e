-- An agent of a tenant; no row when there is one with this id.
INSERT INTO public.agents (tenant_id, id, name, created_at) VALUES ($1, $2, $3, $4)
ON CONFLICT (tenant_id, id) DO NOTHING
