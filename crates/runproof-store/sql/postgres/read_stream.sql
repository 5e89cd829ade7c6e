-- Everything in one stream, in order, each transition with its place if it has one. OFFSET 0: each place is looked up by its
-- whole key. A planner that takes a stream for one row would read all places of the stream for each transition.
SELECT first_leaf, tenant_id, stream, first_seq, event_count, events, payloads, id, transition_id
FROM public.transitions AS t LEFT JOIN LATERAL (
    SELECT l.first_leaf, l.transition_id FROM public.leaves AS l
    WHERE l.tenant_id = t.tenant_id AND l.stream = t.stream AND l.first_seq = t.first_seq OFFSET 0) AS l ON true
WHERE tenant_id = $1 AND stream = $2 ORDER BY first_seq;
