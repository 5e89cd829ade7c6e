-- Removes what is left of a run in this table; allowed only while what takes its place is there, and no hold is on it.
DELETE FROM public.aos_trace_steps WHERE tenant_id = $1 AND trace_id = $2;
