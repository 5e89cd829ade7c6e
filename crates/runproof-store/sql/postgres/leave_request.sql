-- A command for whoever holds the run.
INSERT INTO public.requests (tenant_id, run_id, body) VALUES ($1, $2, $3) RETURNING id
