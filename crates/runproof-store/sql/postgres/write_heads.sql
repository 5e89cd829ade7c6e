-- Moves the heads of streams that are not runs.
UPDATE public.stream_heads AS h SET next_seq = n.next_seq, head = n.head, last_at = n.last_at, runs = n.runs
FROM unnest($1::text[], $2::text[], $3::bigint[], $4::text[], $5::bigint[], $6::bigint[])
    AS n(tenant_id, stream, next_seq, head, last_at, runs)
WHERE h.tenant_id = n.tenant_id AND h.stream = n.stream
