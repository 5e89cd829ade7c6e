-- Workers, the newest first: the dead ones of the last day too.
SELECT w.id, w.version, w.host, w.concurrency::bigint,
       to_char(w.started_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'),
       to_char(w.lease_until AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'),
       CASE WHEN w.dead THEN 'dead' WHEN w.lease_until > clock_timestamp() THEN 'live' ELSE 'lapsed' END,
       (SELECT count(*) FROM public.runproof_owned(w.id))
FROM public.workers AS w
WHERE NOT w.dead OR w.lease_until > clock_timestamp() - interval '1 day'
ORDER BY w.started_at DESC, w.id
LIMIT 1000
