-- Lets any number of runs go on at once.
DELETE FROM public.limits WHERE tenant_id = $1 AND agent_id = $2
