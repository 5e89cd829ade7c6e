-- Due runs of one tenant and priority that nobody holds and that this version knows, the longest due first.
SELECT run_id, agent_id, wake_at FROM run_queue
WHERE owner IS NULL AND wake_at IS NOT NULL AND tenant_id = ?1 AND priority = ?2 AND wake_at <= ?3 AND format <= ?4
ORDER BY wake_at, run_id;
