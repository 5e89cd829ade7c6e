-- Keys that expire. `version` is the id of the transition that wrote the row: ids are given out once, so no version comes
-- twice.
ALTER TABLE public.kv ADD COLUMN expires_at bigint;
CREATE INDEX kv_expiry ON public.kv (tenant_id, expires_at) WHERE expires_at IS NOT NULL;
