-- Lifts the hold on a run, once.
UPDATE public.holds SET lifted_at = $3 WHERE tenant_id = $1 AND run_id = $2 AND lifted_at IS NULL;
