-- Moves the heads of runs whose writer holds the claim and knows the head, and writes what follows for those only. One row
-- of the first arrays is one run; the answer has the numbers of those that passed, from 1, and the last id of a transition.
-- Steps follow in arrays of their own, each with the number of its run. Nothing is joined but the queue, by its key.
WITH t AS MATERIALIZED (
    SELECT * FROM unnest(
        $1::text[], $2::text[], $3::text[], $4::bigint[], $5::bigint[], $6::text[], $7::bigint[], $8::text[], $9::text[],
        $10::bigint[], $11::boolean[], $12::bigint[], $13::text[], $14::text[]) WITH ORDINALITY
    AS t(tenant_id, run_id, owner, epoch, seq, head, next_seq, next_head, next_owner, wake_at, is_over, event_count, events,
         payloads, number)
), ended AS (
    DELETE FROM public.run_queue AS q USING t
    WHERE t.is_over AND q.tenant_id = t.tenant_id AND q.run_id = t.run_id
      AND q.owner = t.owner AND q.epoch = t.epoch AND q.next_seq = t.seq AND q.head = t.head
    RETURNING t.number, t.tenant_id, t.run_id, t.seq, t.event_count, t.events, t.payloads
), moved AS (
    UPDATE public.run_queue AS q
    SET owner = t.next_owner, wake_at = t.wake_at, next_seq = t.next_seq, head = t.next_head
    FROM t
    WHERE NOT t.is_over AND q.tenant_id = t.tenant_id AND q.run_id = t.run_id
      AND q.owner = t.owner AND q.epoch = t.epoch AND q.next_seq = t.seq AND q.head = t.head
    RETURNING t.number, t.tenant_id, t.run_id, t.seq, t.event_count, t.events, t.payloads
), passed AS MATERIALIZED (
    SELECT * FROM ended UNION ALL SELECT * FROM moved
), written AS (
    INSERT INTO public.transitions (tenant_id, stream, first_seq, event_count, events, payloads)
    SELECT tenant_id, 'run/' || run_id, seq, event_count, events, payloads FROM passed WHERE event_count > 0
    RETURNING id
), stepped AS (
    INSERT INTO public.aos_trace_steps (
        tenant_id, trace_id, step_index, run_id, step_id, item, plan_index, skill_id, skill_name, status, outcome_category,
        outcome_code, cost_microcents, duration_us, retry_count, idempotency_key, source, level, is_synthetic,
        synthetic_scenario_id, "timestamp", archived_at)
    SELECT s.tenant_id, s.trace_id, s.step_index, s.run_id, s.step_id, s.item, s.plan_index, s.skill_id, s.skill_name,
        s.status, s.outcome_category, s.outcome_code, s.cost_microcents, s.duration_us, s.retry_count, s.idempotency_key,
        s.source, s.level, s.is_synthetic, s.synthetic_scenario_id, s."timestamp", s.archived_at
    FROM unnest(
        $15::text[], $16::text[], $17::bigint[], $18::text[], $19::text[], $20::text[], $21::bigint[], $22::text[],
        $23::text[], $24::text[], $25::text[], $26::text[], $27::bigint[], $28::bigint[], $29::bigint[], $30::text[],
        $31::text[], $32::text[], $33::bigint[], $34::text[], $35::text[], $36::text[], $37::bigint[])
    AS s(tenant_id, trace_id, step_index, run_id, step_id, item, plan_index, skill_id, skill_name, status,
         outcome_category, outcome_code, cost_microcents, duration_us, retry_count, idempotency_key, source, level,
         is_synthetic, synthetic_scenario_id, "timestamp", archived_at, number)
    WHERE s.number = ANY (ARRAY(SELECT number FROM passed))
)
SELECT number, (SELECT max(id) FROM written) FROM passed
