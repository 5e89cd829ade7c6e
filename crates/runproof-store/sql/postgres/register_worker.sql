-- A new worker with a lease; one that was there before keeps nothing.
INSERT INTO public.workers (id, version, host, concurrency, started_at, lease_until, dead)
VALUES ($1, $2, $3, $4, clock_timestamp(), clock_timestamp() + $5 * interval '1 microsecond', false)
