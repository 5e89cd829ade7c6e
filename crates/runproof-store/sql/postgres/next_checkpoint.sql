-- The checkpoint with the smallest size above this one.
SELECT size, root, note FROM public.checkpoints WHERE size > $1 ORDER BY size LIMIT 1;
