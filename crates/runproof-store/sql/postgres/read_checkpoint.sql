-- The checkpoint of one size.
SELECT root, note FROM public.checkpoints WHERE size = $1;
