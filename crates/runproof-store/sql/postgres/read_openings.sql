-- What a new run has to know, once the heads of the tenants are locked. One row for each request, in order. Streams are
-- compared with a whole parameter, and rows looked up one by one: under a row policy, a name that is put together here, or
-- an EXISTS that is hashed, would read every row of the tenant.
SELECT
    (SELECT true FROM public.agents AS a WHERE a.tenant_id = n.tenant_id AND a.id = n.agent_id) IS NOT NULL AS has_agent,
    (SELECT true FROM public.transitions AS t
     WHERE t.tenant_id = n.tenant_id AND t.stream = n.stream LIMIT 1) IS NOT NULL AS has_run,
    k.digest, k.run_id,
    (SELECT true FROM public.workers AS w
     WHERE w.id = n.owner AND NOT w.dead AND w.lease_until > clock_timestamp()) IS NOT NULL AS has_lease,
    (SELECT true FROM public.archives AS r WHERE r.tenant_id = n.tenant_id AND r.run_id = n.run_id) IS NOT NULL
        OR (SELECT true FROM public.tombstones AS s
            WHERE s.tenant_id = n.tenant_id AND s.run_id = n.run_id) IS NOT NULL AS is_kept,
    (SELECT true FROM public.tombstones AS s
     WHERE s.tenant_id = n.tenant_id AND s.run_id = k.run_id) IS NOT NULL AS is_purged
FROM unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::text[], $6::text[]) WITH ORDINALITY
    AS n(tenant_id, agent_id, run_id, stream, key, owner, number)
LEFT JOIN public.idempotency_keys AS k ON k.tenant_id = n.tenant_id AND k.key = n.key
ORDER BY n.number
