-- Removes what is left of a run in this table; allowed only while what takes its place is there, and no hold is on it.
DELETE FROM public.transitions WHERE tenant_id = $1 AND stream = $2;
