-- Makes the roles of a deployment, and gives the database to its owner. Once for each database, by a superuser, before
-- `runproof migrate`; safe to repeat, and then it sets the passwords anew:
--
--   psql -v owner_password=… -v worker_password=… -v api_password=… -v auditor_password=… -v retention_password=… \
--       -d runproof -f deploy/roles.sql
--
-- A password on a command line can be read by everybody on the machine: deploy/roles.sh reads them from files.
-- What the groups may do is in the migrations (0003_workers). Only the owner changes the schema; nothing that runs all
-- day has its password.

\set ON_ERROR_STOP on
\set QUIET on
BEGIN;

-- Groups. The owner may not create roles, so they have to be there before it migrates.
SELECT format('CREATE ROLE %I NOLOGIN', name)
FROM unnest(ARRAY['runproof_engine', 'runproof_api', 'runproof_auditor', 'runproof_retention']) name
WHERE NOT EXISTS (SELECT FROM pg_catalog.pg_roles WHERE rolname = name) \gexec

-- Logins.
SELECT format('CREATE ROLE %I', name)
FROM unnest(ARRAY['runproof_owner', 'runproof_worker', 'runproof_client', 'runproof_audit', 'runproof_keeper']) name
WHERE NOT EXISTS (SELECT FROM pg_catalog.pg_roles WHERE rolname = name) \gexec

ALTER ROLE runproof_owner  LOGIN NOSUPERUSER NOCREATEROLE NOBYPASSRLS PASSWORD :'owner_password';
ALTER ROLE runproof_worker LOGIN NOSUPERUSER NOCREATEROLE NOBYPASSRLS PASSWORD :'worker_password';
ALTER ROLE runproof_client LOGIN NOSUPERUSER NOCREATEROLE NOBYPASSRLS PASSWORD :'api_password';
ALTER ROLE runproof_audit  LOGIN NOSUPERUSER NOCREATEROLE NOBYPASSRLS PASSWORD :'auditor_password';
ALTER ROLE runproof_keeper LOGIN NOSUPERUSER NOCREATEROLE NOBYPASSRLS PASSWORD :'retention_password';

GRANT runproof_engine    TO runproof_worker;
GRANT runproof_api       TO runproof_client;
GRANT runproof_auditor   TO runproof_audit;
GRANT runproof_retention TO runproof_keeper;

-- The owner of the database owns the schema `public` with it. Nobody else gets in by default.
SELECT format('ALTER DATABASE %I OWNER TO runproof_owner', current_database()) \gexec
SELECT format('REVOKE ALL ON DATABASE %I FROM PUBLIC', current_database()) \gexec
SELECT format('GRANT CONNECT ON DATABASE %I TO runproof_engine, runproof_api, runproof_auditor, runproof_retention',
    current_database()) \gexec

COMMIT;
