-- New runs wait to be claimed, or are claimed by whoever made them.
INSERT INTO public.run_queue (tenant_id, run_id, owner, epoch, next_seq, head, wake_at, priority, agent_id)
SELECT * FROM unnest(
    $1::text[], $2::text[], $3::text[], $4::bigint[], $5::bigint[], $6::text[], $7::bigint[], $8::bigint[], $9::text[])
