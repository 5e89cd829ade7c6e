-- Locks the heads of tenants' streams, and reads what new runs have to know. One row for each request, in order.
SELECT has_agent, has_run, key_digest, key_run_id, has_lease, is_kept, is_purged, next_seq, head, last_at, runs
FROM public.runproof_openings($1, $2, $3, $4, $5)
