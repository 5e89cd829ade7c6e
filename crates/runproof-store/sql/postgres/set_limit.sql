-- The most runs of a tenant, or of one of its agents, that go on at once.
INSERT INTO public.limits (tenant_id, agent_id, max_running) VALUES ($1, $2, $3)
ON CONFLICT (tenant_id, agent_id) DO UPDATE SET max_running = excluded.max_running
