-- Writes a tile, or lets it grow.
INSERT INTO ledger_tiles (level, tile, hashes) VALUES (?1, ?2, ?3)
ON CONFLICT (level, tile) DO UPDATE SET hashes = excluded.hashes;
