-- Number of leaves, and the id below which every transition has one.
SELECT size, settled_id FROM public.ledger_head WHERE "only" = 1;
