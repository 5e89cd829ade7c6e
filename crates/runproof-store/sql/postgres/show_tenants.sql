-- What this transaction may see from here on: rows of these tenants and of the log itself.
SELECT pg_catalog.set_config('runproof.tenants', $1, true);
