-- Binds idempotency keys to what was asked for.
INSERT INTO public.idempotency_keys (tenant_id, key, digest, run_id)
SELECT * FROM unnest($1::text[], $2::text[], $3::text[], $4::text[])
