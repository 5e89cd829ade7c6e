-- Binds an idempotency key to what was asked for.
INSERT INTO idempotency_keys (tenant_id, key, digest, run_id) VALUES (?1, ?2, ?3, ?4);
