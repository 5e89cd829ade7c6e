-- Gives back a claim, iff the giver holds it.
UPDATE public.run_queue SET owner = NULL, wake_at = $5
WHERE tenant_id = $1 AND run_id = $2 AND owner = $3 AND epoch = $4
