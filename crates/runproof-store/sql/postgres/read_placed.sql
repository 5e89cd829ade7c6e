-- Transitions by their leaf indexes.
SELECT first_leaf, tenant_id, stream, first_seq, event_count, events, payloads, transitions.id, leaves.transition_id
FROM public.leaves JOIN public.transitions USING (tenant_id, stream, first_seq)
WHERE first_leaf = ANY ($1) ORDER BY first_leaf;
