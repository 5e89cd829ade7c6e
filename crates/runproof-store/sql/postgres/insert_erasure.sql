-- The record of an erasure: without it no value can be taken out.
INSERT INTO public.erasures (tenant_id, run_id, seq, field, part_index, erased_at) VALUES ($1, $2, $3, $4, $5, $6)
