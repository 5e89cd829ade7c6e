-- A page of the streams of runs after a key, in order, each with the last leaf index that one of its rows has; the largest
-- number where a row has none.
SELECT tenant_id, stream, max(coalesce(first_leaf, 9223372036854775807))
FROM public.transitions LEFT JOIN public.leaves USING (tenant_id, stream, first_seq)
WHERE stream >= 'run/' AND stream < 'run0' AND (tenant_id, stream) > ($1, $2)
GROUP BY tenant_id, stream ORDER BY tenant_id, stream LIMIT 1000;
