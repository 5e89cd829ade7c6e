-- The next lower priority of a tenant's waiting runs: one step in the index, however many runs there are.
SELECT priority FROM run_queue WHERE owner IS NULL AND wake_at IS NOT NULL AND tenant_id = ?1 AND priority < ?2
ORDER BY priority DESC LIMIT 1;
