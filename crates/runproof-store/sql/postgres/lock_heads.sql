-- Heads of tenants' streams, locked in one order, with the number of runs that each opened.
SELECT tenant_id, next_seq, head, last_at, runs FROM public.stream_heads
WHERE tenant_id = ANY($1::text[]) AND stream = 'tenant/' || tenant_id
ORDER BY tenant_id FOR UPDATE
