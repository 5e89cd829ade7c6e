-- Every agent.
SELECT tenant_id, id FROM public.agents
