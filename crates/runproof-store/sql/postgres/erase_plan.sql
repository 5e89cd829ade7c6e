-- Removes the copy of an erased plan; allowed only while an erasure record exists.
UPDATE public.runs SET plan_json = NULL WHERE tenant_id = $1 AND id = $2
