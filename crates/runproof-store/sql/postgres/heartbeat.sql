-- Renews a lease that has not lapsed; one that has is lost for good.
UPDATE public.workers SET lease_until = clock_timestamp() + $2 * interval '1 microsecond'
WHERE id = $1 AND NOT dead AND lease_until > clock_timestamp()
