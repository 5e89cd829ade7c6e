-- Agents, of one tenant or of all that can be seen.
SELECT tenant_id, id, name, created_at FROM public.agents
WHERE $1::text IS NULL OR tenant_id = $1 ORDER BY tenant_id, id;
