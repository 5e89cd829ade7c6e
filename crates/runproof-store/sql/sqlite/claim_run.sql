-- Takes one run that nobody holds, due or not.
UPDATE run_queue SET owner = ?1, epoch = epoch + 1 WHERE tenant_id = ?2 AND run_id = ?3 AND owner IS NULL
RETURNING epoch;
