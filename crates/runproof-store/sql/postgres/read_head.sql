-- Head of a stream that is not a run.
SELECT next_seq, head, last_at, runs FROM public.stream_heads WHERE tenant_id = $1 AND stream = $2;
