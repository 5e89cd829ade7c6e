-- Takes runs that are due and that nobody holds: the rules are in the function.
SELECT tenant_id, run_id, epoch FROM public.runproof_claim($1, $2, $3, $4, $5)
