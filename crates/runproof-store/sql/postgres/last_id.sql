-- The id of a transition that was given out last, committed or not; the sequence has no cache in sessions.
SELECT CASE WHEN is_called THEN last_value ELSE 0 END FROM public.transitions_id_seq;
