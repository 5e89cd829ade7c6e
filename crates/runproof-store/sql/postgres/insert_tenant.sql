-- A tenant.
INSERT INTO public.tenants (id, created_at) VALUES ($1, $2)
