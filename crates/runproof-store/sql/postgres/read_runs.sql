-- Everything in the streams of some runs, run by run and in order.
SELECT t.tenant_id, t.stream, t.first_seq, t.event_count, t.events, t.payloads
FROM unnest($1::text[], $2::text[]) AS n(tenant_id, stream)
JOIN public.transitions AS t ON t.tenant_id = n.tenant_id AND t.stream = n.stream
ORDER BY t.tenant_id, t.stream, t.first_seq
