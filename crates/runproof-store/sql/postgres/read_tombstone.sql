-- The tombstone of a run.
SELECT run_no, leaves, seal, run_root, purged_at FROM public.tombstones WHERE tenant_id = $1 AND run_id = $2;
