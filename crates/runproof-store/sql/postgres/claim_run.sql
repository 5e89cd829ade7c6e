-- Takes one run that nobody holds, due or not. The second column says whether the worker may.
WITH allowed AS MATERIALIZED (
    SELECT EXISTS (SELECT 1 FROM public.workers AS w
                   WHERE w.id = $1 AND NOT w.dead AND w.lease_until > clock_timestamp()) AS holds
), taken AS (
    UPDATE public.run_queue AS q SET owner = $1, epoch = q.epoch + 1, wake_at = NULL FROM allowed
    WHERE allowed.holds AND q.tenant_id = $2 AND q.run_id = $3 AND q.owner IS NULL AND q.format <= $4
    RETURNING q.epoch
)
SELECT (SELECT epoch FROM taken) AS epoch, holds FROM allowed
