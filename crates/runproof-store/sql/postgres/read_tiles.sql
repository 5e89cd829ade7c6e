-- Tiles by level and number. What is missing is missing in the answer.
SELECT level, tile, hashes FROM public.ledger_tiles
JOIN unnest($1::bigint[], $2::bigint[]) AS wanted (level, tile) USING (level, tile);
