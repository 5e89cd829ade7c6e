-- What is there of a run, before anything of it is archived, held, removed or purged.
SELECT EXISTS (SELECT 1 FROM transitions WHERE tenant_id = ?1 AND stream = 'run/' || ?2),
       EXISTS (SELECT 1 FROM run_seals WHERE tenant_id = ?1 AND run_id = ?2),
       EXISTS (SELECT 1 FROM archives WHERE tenant_id = ?1 AND run_id = ?2),
       EXISTS (SELECT 1 FROM tombstones WHERE tenant_id = ?1 AND run_id = ?2),
       EXISTS (SELECT 1 FROM holds WHERE tenant_id = ?1 AND run_id = ?2 AND lifted_at IS NULL),
       (SELECT count(*) FROM erasures WHERE tenant_id = ?1 AND run_id = ?2);
