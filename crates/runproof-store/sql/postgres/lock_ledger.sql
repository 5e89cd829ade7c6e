-- Makes this transaction the sequencer, or answers nothing: another one is, or there is nothing to place, to settle up to
-- id $1, or to sign. `own` is the number of this transaction: one that takes a number later has a higher one. `oldest` is
-- the number below which every transaction is over.
SELECT size, settled_id, pg_catalog.pg_current_xact_id()::text::bigint AS own,
       pg_catalog.pg_snapshot_xmin(pg_catalog.pg_current_snapshot())::text::bigint AS oldest
FROM public.ledger_head
WHERE "only" = 1 AND (
    settled_id < $1 OR size > (SELECT coalesce(max(c.size), 0) FROM public.checkpoints c)
    OR EXISTS (SELECT 1 FROM public.runproof_unplaced(1)))
FOR UPDATE SKIP LOCKED;
