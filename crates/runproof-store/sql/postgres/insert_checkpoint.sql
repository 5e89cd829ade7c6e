-- Keeps a signed checkpoint iff the tiles still hold the tree that was signed; $4 to $6 are the last tiles of its levels.
-- Another process may have kept the same before.
INSERT INTO public.checkpoints (size, root, note)
SELECT $1, $2, $3
WHERE NOT EXISTS (
    SELECT 1 FROM unnest($4::bigint[], $5::bigint[], $6::bytea[]) AS signed (level, tile, hashes)
    LEFT JOIN public.ledger_tiles AS stored USING (level, tile)
    WHERE substring(stored.hashes FROM 1 FOR length(signed.hashes)) IS DISTINCT FROM signed.hashes)
ON CONFLICT (size) DO NOTHING;
