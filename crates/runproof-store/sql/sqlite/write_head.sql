-- Moves the head of a stream that is not a run.
INSERT INTO stream_heads (tenant_id, stream, next_seq, head, last_at, runs) VALUES (?1, ?2, ?3, ?4, ?5, ?6)
ON CONFLICT (tenant_id, stream) DO UPDATE SET
    next_seq = excluded.next_seq, head = excluded.head, last_at = excluded.last_at, runs = excluded.runs;
