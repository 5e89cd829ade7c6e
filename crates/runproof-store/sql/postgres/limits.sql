-- Limits of a tenant, with what is going on under each.
SELECT l.tenant_id, l.agent_id, l.max_running::bigint,
       (SELECT count(*) FROM public.run_queue AS q
        WHERE q.tenant_id = l.tenant_id AND q.owner IS NOT NULL AND (l.agent_id = '' OR q.agent_id = l.agent_id))
FROM public.limits AS l WHERE l.tenant_id = $1 ORDER BY l.agent_id
