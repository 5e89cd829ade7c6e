-- Everything in one stream, in order, each transition with its place if it has one.
SELECT first_leaf, tenant_id, stream, first_seq, event_count, events, payloads, transitions.id, leaves.transition_id
FROM public.transitions LEFT JOIN public.leaves USING (tenant_id, stream, first_seq)
WHERE tenant_id = $1 AND stream = $2 ORDER BY first_seq;
