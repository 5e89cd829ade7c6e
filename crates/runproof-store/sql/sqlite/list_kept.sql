-- Archived and purged runs, by tenant and number.
SELECT tenant_id, run_id, run_no, 'archived', archived_at, leaves FROM archives WHERE ?1 IS NULL OR tenant_id = ?1
UNION ALL
SELECT tenant_id, run_id, run_no, 'purged', purged_at, leaves FROM tombstones WHERE ?1 IS NULL OR tenant_id = ?1
ORDER BY tenant_id, run_no;
