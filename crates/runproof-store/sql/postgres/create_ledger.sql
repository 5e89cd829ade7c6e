-- Names the ledger, unless it has a name.
INSERT INTO public.ledger ("only", origin, vkey, created_at) VALUES (1, $1, $2, $3) ON CONFLICT ("only") DO NOTHING;
