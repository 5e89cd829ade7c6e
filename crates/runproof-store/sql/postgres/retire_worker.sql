-- Ends the lease of a worker, so that its claims are free at once.
UPDATE public.workers SET dead = true, lease_until = clock_timestamp() WHERE id = $1 AND NOT dead
