-- Appends one event to the log's own stream, iff its head is still the one that was read.
WITH moved AS (
    INSERT INTO public.stream_heads (tenant_id, stream, next_seq, head, last_at, runs) VALUES ('', 'log', $1 + 1, $3, $4, 0)
    ON CONFLICT (tenant_id, stream) DO UPDATE
        SET next_seq = excluded.next_seq, head = excluded.head, last_at = excluded.last_at
        WHERE stream_heads.next_seq = $1 AND stream_heads.head = $2
    RETURNING tenant_id, stream
)
INSERT INTO public.transitions (tenant_id, stream, first_seq, event_count, events, payloads)
SELECT tenant_id, stream, $1, 1, $5, $6 FROM moved;
