-- The checkpoint with the largest size up to this one.
SELECT size, root, note FROM public.checkpoints WHERE size <= $1 ORDER BY size DESC LIMIT 1;
