-- Takes a run out of the queue, iff the writer holds the claim and knows the head; otherwise no row changes.
DELETE FROM run_queue WHERE tenant_id = ?1 AND run_id = ?2 AND owner = ?3 AND epoch = ?4 AND next_seq = ?5 AND head = ?6;
