-- Completes a trace, once; parameters are numbered as in insert_trace.
UPDATE aos_traces SET status = ?5, completed_at = ?8, metadata = ?9 WHERE tenant_id = ?1 AND trace_id = ?2;
