-- Streams of runs after a key, in order, each with the last leaf index that one of its rows names: from the index alone.
-- Where the columns are no text (somebody changed the schema), the pass over the leaves says so.
SELECT tenant_id, stream, max(first_leaf) FROM transitions
WHERE stream >= 'run/' AND stream < 'run0' AND (tenant_id, stream) > (?1, ?2)
  AND typeof(tenant_id) = 'text' AND typeof(stream) = 'text'
GROUP BY tenant_id, stream ORDER BY tenant_id, stream;
