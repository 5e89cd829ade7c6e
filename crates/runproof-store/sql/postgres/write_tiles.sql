-- Writes tiles, or lets them grow.
INSERT INTO public.ledger_tiles (level, tile, hashes)
SELECT * FROM unnest($1::bigint[], $2::bigint[], $3::bytea[])
ON CONFLICT (level, tile) DO UPDATE SET hashes = excluded.hashes;
