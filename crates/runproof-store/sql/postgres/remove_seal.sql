-- Removes what is left of a run in this table; allowed only while what takes its place is there, and no hold is on it.
DELETE FROM public.run_seals WHERE tenant_id = $1 AND run_id = $2;
