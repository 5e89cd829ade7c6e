-- Removes a key of a tenant; its guard was checked in the same transaction.
DELETE FROM kv WHERE tenant_id = ?1 AND key = ?2;
