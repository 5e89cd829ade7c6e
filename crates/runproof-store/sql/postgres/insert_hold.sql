-- A hold: nothing of the run is removed until it is lifted.
INSERT INTO public.holds (tenant_id, run_id, seq, reason, placed_at) VALUES ($1, $2, $3, $4, $5);
