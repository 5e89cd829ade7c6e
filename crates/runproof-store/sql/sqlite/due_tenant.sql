-- The next tenant, by id, with runs that wait for their time or for a worker.
SELECT tenant_id FROM run_queue WHERE owner IS NULL AND wake_at IS NOT NULL AND tenant_id > ?1 ORDER BY tenant_id LIMIT 1;
