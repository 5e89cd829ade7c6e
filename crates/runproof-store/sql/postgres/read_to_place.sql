-- Transitions by their ids, which are in order, as long as those before have fewer than so many bytes of events. The range
-- leads to the index of ids, also while no statistics say that it is better than the one of tenants.
SELECT id, tenant_id, stream, first_seq, events
FROM (
    SELECT *, sum(octet_length(events)) OVER (ORDER BY id) - octet_length(events) AS bytes_before
    FROM public.transitions WHERE id = ANY ($1) AND id >= ($1)[1] AND id <= ($1)[cardinality($1)]
) AS sized
WHERE bytes_before < $2 ORDER BY id;
