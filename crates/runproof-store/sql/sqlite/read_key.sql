-- The run that an idempotency key made.
SELECT digest, run_id FROM idempotency_keys WHERE tenant_id = ?1 AND key = ?2;
