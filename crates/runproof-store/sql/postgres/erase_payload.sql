-- Replaces the payloads of a transition; allowed only while an erasure record exists.
UPDATE public.transitions SET payloads = $4 WHERE tenant_id = $1 AND stream = $2 AND first_seq = $3
