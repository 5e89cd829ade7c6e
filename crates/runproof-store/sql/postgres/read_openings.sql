-- What a new run has to know, once the heads of the tenants are locked. One row for each request, in order.
SELECT
    EXISTS (SELECT 1 FROM public.agents AS a WHERE a.tenant_id = n.tenant_id AND a.id = n.agent_id) AS has_agent,
    EXISTS (SELECT 1 FROM public.transitions AS t
            WHERE t.tenant_id = n.tenant_id AND t.stream = 'run/' || n.run_id) AS has_run,
    k.digest, k.run_id,
    EXISTS (SELECT 1 FROM public.workers AS w
            WHERE w.id = n.owner AND NOT w.dead AND w.lease_until > clock_timestamp()) AS has_lease,
    EXISTS (SELECT 1 FROM public.archives AS r WHERE r.tenant_id = n.tenant_id AND r.run_id = n.run_id)
        OR EXISTS (SELECT 1 FROM public.tombstones AS s WHERE s.tenant_id = n.tenant_id AND s.run_id = n.run_id) AS is_kept,
    EXISTS (SELECT 1 FROM public.tombstones AS s WHERE s.tenant_id = n.tenant_id AND s.run_id = k.run_id) AS is_purged
FROM unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::text[]) WITH ORDINALITY
    AS n(tenant_id, agent_id, run_id, key, owner, number)
LEFT JOIN public.idempotency_keys AS k ON k.tenant_id = n.tenant_id AND k.key = n.key
ORDER BY n.number
