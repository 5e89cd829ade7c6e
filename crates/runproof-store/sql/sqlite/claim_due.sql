-- Takes runs that are due and that nobody holds, the longest due first.
UPDATE run_queue SET owner = ?1, epoch = epoch + 1
WHERE (tenant_id, run_id) IN (
    SELECT tenant_id, run_id FROM run_queue WHERE owner IS NULL AND wake_at <= ?2 ORDER BY wake_at LIMIT ?3)
RETURNING tenant_id, run_id, epoch;
