-- Moves the head of the ledger from the size that was read; `settled_id` never goes back.
UPDATE public.ledger_head SET size = $2, settled_id = greatest(settled_id, $3) WHERE "only" = 1 AND size = $1;
