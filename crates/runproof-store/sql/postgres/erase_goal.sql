-- Removes the copy of an erased goal; allowed only while an erasure record exists.
UPDATE public.runs SET goal = NULL WHERE tenant_id = $1 AND id = $2
