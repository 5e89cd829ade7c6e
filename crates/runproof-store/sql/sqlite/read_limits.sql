-- Limits of a tenant, the one on all of it first, with the runs that count towards each.
SELECT agent_id, max_running, (
    SELECT count(*) FROM run_queue WHERE run_queue.tenant_id = limits.tenant_id AND owner IS NOT NULL
       AND (limits.agent_id = '' OR run_queue.agent_id = limits.agent_id))
FROM limits WHERE tenant_id = ?1 ORDER BY agent_id;
