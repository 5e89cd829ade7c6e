-- Runs of a tenant that somebody holds, by agent.
SELECT agent_id, count(*) FROM run_queue WHERE tenant_id = ?1 AND owner IS NOT NULL GROUP BY agent_id;
