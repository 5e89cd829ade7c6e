-- What is stored at the place that a transition was meant for, and how its run stands in the queue.
SELECT
    (SELECT t.events FROM public.transitions AS t
     WHERE t.tenant_id = $1 AND t.stream = 'run/' || $2 AND t.first_seq = $3) AS events,
    q.owner, q.epoch, q.next_seq, q.head, q.wake_at
FROM (SELECT 1) AS one LEFT JOIN public.run_queue AS q ON q.tenant_id = $1 AND q.run_id = $2
