-- Nobody is offered a run that cannot be read for a while. Nothing else of it changes.
UPDATE run_queue SET wake_at = ?3 WHERE tenant_id = ?1 AND run_id = ?2 AND owner IS NULL;
