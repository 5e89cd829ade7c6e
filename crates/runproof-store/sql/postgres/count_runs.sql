-- Rows of `runs`, for progress.
SELECT count(*) FROM public.runs;
