-- Appends what commits together in one stream; the leaf index is the position in the ledger.
INSERT INTO transitions (first_leaf, tenant_id, stream, first_seq, event_count, events, payloads)
VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7);
