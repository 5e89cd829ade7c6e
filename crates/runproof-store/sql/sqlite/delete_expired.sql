-- Removes keys of a tenant that have expired, the longest expired first, up to a limit.
DELETE FROM kv WHERE tenant_id = ?1 AND key IN (
    SELECT key FROM kv WHERE tenant_id = ?1 AND expires_at <= ?2 ORDER BY expires_at, key LIMIT ?3);
