-- What is there of a run, before anything of it is archived, held, removed or purged.
SELECT EXISTS (SELECT 1 FROM public.transitions WHERE tenant_id = $1 AND stream = 'run/' || $2),
       EXISTS (SELECT 1 FROM public.run_seals WHERE tenant_id = $1 AND run_id = $2),
       EXISTS (SELECT 1 FROM public.archives WHERE tenant_id = $1 AND run_id = $2),
       EXISTS (SELECT 1 FROM public.tombstones WHERE tenant_id = $1 AND run_id = $2),
       EXISTS (SELECT 1 FROM public.holds WHERE tenant_id = $1 AND run_id = $2 AND lifted_at IS NULL),
       (SELECT count(*) FROM public.erasures WHERE tenant_id = $1 AND run_id = $2);
