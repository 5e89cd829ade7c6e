-- Every tile, in order.
SELECT level, tile FROM public.ledger_tiles ORDER BY level, tile
