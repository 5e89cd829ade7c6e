-- Moves the head of a run, iff the writer holds the claim and knows the head; otherwise no row changes.
UPDATE run_queue SET owner = ?7, wake_at = ?8, next_seq = ?9, head = ?10
WHERE tenant_id = ?1 AND run_id = ?2 AND owner = ?3 AND epoch = ?4 AND next_seq = ?5 AND head = ?6;
