-- Sets a limit on runs that are going at once.
INSERT INTO limits (tenant_id, agent_id, max_running) VALUES (?1, ?2, ?3)
ON CONFLICT (tenant_id, agent_id) DO UPDATE SET max_running = excluded.max_running;
