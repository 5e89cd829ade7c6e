-- Declares workers dead whose lease is over, and lets their runs go on.
SELECT workers, runs FROM public.runproof_reap($1)
