-- The archive of a run.
SELECT run_no, leaves, bundle, bundle_digest, archived_at FROM public.archives WHERE tenant_id = $1 AND run_id = $2;
