-- Appends what commits together, each row in its stream; ids grow in the order of the arrays.
INSERT INTO public.transitions (tenant_id, stream, first_seq, event_count, events, payloads)
SELECT n.tenant_id, n.stream, n.first_seq, n.event_count, n.events, n.payloads
FROM unnest($1::text[], $2::text[], $3::bigint[], $4::bigint[], $5::text[], $6::text[]) WITH ORDINALITY
    AS n(tenant_id, stream, first_seq, event_count, events, payloads, number)
ORDER BY n.number
