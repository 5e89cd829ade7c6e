-- Sets a key of a tenant.
INSERT INTO kv (tenant_id, key, value, version) VALUES (?1, ?2, ?3, 1)
ON CONFLICT (tenant_id, key) DO UPDATE SET value = excluded.value, version = version + 1;
