-- A page of the ledger in order, after one leaf: every transition that has a place. A place without its transition, or the
-- other way round, is a gap in the leaf indexes. $2 bounds the bytes of all but the last row.
SELECT first_leaf, tenant_id, stream, first_seq, event_count, events, payloads, id, transition_id
FROM (
    SELECT *, sum(bytes) OVER (ORDER BY first_leaf) - bytes AS bytes_before
    FROM (
        SELECT leaves.first_leaf, leaves.transition_id, transitions.*,
               octet_length(events)::bigint + octet_length(payloads) AS bytes
        FROM public.leaves JOIN public.transitions USING (tenant_id, stream, first_seq)
        WHERE leaves.first_leaf > $1 ORDER BY leaves.first_leaf LIMIT 1000
    ) AS page
) AS sized
WHERE bytes_before < $2 ORDER BY first_leaf;
