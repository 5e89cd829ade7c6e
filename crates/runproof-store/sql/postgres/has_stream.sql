-- Whether a stream has rows.
SELECT EXISTS (SELECT 1 FROM public.transitions WHERE tenant_id = $1 AND stream = $2);
