-- The head of a new stream; no row when there is one.
INSERT INTO public.stream_heads (tenant_id, stream, next_seq, head, last_at, runs) VALUES ($1, $2, $3, $4, $5, $6)
ON CONFLICT (tenant_id, stream) DO NOTHING
