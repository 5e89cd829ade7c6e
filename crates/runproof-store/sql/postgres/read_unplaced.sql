-- Committed transitions that have no place yet, in the order in which they get it.
SELECT id, tenant_id FROM public.runproof_unplaced($1) ORDER BY id;
