-- Whether a run that nobody holds is due.
SELECT public.runproof_has_due($1, $2)
