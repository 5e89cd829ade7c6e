-- The newest checkpoint.
SELECT size, note FROM public.checkpoints ORDER BY size DESC LIMIT 1;
