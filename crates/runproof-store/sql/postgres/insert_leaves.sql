-- Gives transitions their places. A place that is taken, or a second place, is refused by the keys.
INSERT INTO public.leaves (first_leaf, tenant_id, stream, first_seq, transition_id)
SELECT * FROM unnest($1::bigint[], $2::text[], $3::text[], $4::bigint[], $5::bigint[]);
