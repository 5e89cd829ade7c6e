-- Makes this transaction the sequencer once no other one is.
SELECT size, settled_id FROM public.ledger_head WHERE "only" = 1 FOR UPDATE;
