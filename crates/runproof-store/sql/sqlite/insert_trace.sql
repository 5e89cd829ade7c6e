-- Parameters in the order of the projection's columns.
INSERT INTO aos_traces (
    tenant_id, trace_id, run_id, agent_id, status, schema_version, started_at, completed_at, metadata, is_synthetic,
    synthetic_scenario_id, created_at, archived_at)
VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13);
