-- Everything in one stream, in order.
SELECT first_leaf, tenant_id, stream, first_seq, event_count, events, payloads FROM transitions
WHERE tenant_id = ?1 AND stream = ?2 ORDER BY first_seq;
