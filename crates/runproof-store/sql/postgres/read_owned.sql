-- Every claim of a worker.
SELECT tenant_id, run_id, epoch FROM public.runproof_owned($1)
