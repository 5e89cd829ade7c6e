-- A run as its bundle. It stays until the tombstone is there.
INSERT INTO archives (tenant_id, run_id, run_no, leaves, bundle, bundle_digest, archived_at)
VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7);
