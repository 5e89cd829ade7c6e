-- Whether this role sees rows of all tenants: no row policy holds for it, or one that lets everything pass.
SELECT NOT pg_catalog.row_security_active('public.transitions') OR EXISTS (
    SELECT 1 FROM pg_catalog.pg_policy, unnest(polroles) AS role
    WHERE polrelid = 'public.transitions'::regclass AND pg_catalog.pg_get_expr(polqual, polrelid) = 'true'
      AND CASE role WHEN 0 THEN true ELSE pg_catalog.pg_has_role(role, 'USAGE') END);
