-- A page of the streams of runs after a key, in order, each with the last leaf index that one of its rows has; the largest
-- number where a row has none. OFFSET 0: as in `read_stream`.
SELECT tenant_id, stream, max(coalesce(first_leaf, 9223372036854775807))
FROM public.transitions AS t LEFT JOIN LATERAL (
    SELECT l.first_leaf FROM public.leaves AS l
    WHERE l.tenant_id = t.tenant_id AND l.stream = t.stream AND l.first_seq = t.first_seq OFFSET 0) AS l ON true
WHERE stream >= 'run/' AND stream < 'run0' AND (tenant_id, stream) > ($1, $2)
GROUP BY tenant_id, stream ORDER BY tenant_id, stream LIMIT 1000;
