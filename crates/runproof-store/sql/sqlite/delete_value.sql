-- Removes a key of a tenant.
DELETE FROM kv WHERE tenant_id = ?1 AND key = ?2;
