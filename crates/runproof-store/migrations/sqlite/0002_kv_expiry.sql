-- Keys that expire. `version`, until now a count, is from here on the leaf index of the transition that wrote the row: a
-- count is always below the leaf index of a later write, so no version comes twice.
ALTER TABLE kv ADD COLUMN expires_at INTEGER;
CREATE INDEX kv_expiry ON kv (tenant_id, expires_at) WHERE expires_at IS NOT NULL;
