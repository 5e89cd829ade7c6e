-- The head of a tenant's stream, locked, with the number of runs that it opened.
SELECT next_seq, head, last_at, runs FROM public.stream_heads
WHERE tenant_id = $1 AND stream = 'tenant/' || $1
FOR UPDATE
