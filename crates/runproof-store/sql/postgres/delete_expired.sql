-- Removes keys of a tenant that have expired, the longest expired first, up to a limit. Keys that somebody writes are left.
DELETE FROM public.kv WHERE tenant_id = $1 AND key IN (
    SELECT key FROM public.kv WHERE tenant_id = $1 AND expires_at <= $2
    ORDER BY expires_at, key LIMIT $3 FOR UPDATE SKIP LOCKED)
