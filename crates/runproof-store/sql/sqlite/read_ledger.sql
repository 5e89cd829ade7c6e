-- The ledger in order, from one key on: read row by row, never as a whole.
SELECT first_leaf, tenant_id, stream, first_seq, event_count, events, payloads FROM transitions
WHERE first_leaf > ?1 ORDER BY first_leaf;
