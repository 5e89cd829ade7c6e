-- A new run waits to be claimed, or is claimed by whoever made it.
INSERT INTO run_queue (tenant_id, run_id, owner, epoch, next_seq, head, wake_at, priority, agent_id)
VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9);
