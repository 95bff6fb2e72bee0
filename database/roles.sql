-- Roles, the database and who may reach it, made to be what they should be: run by start.sh before every start, as the
-- superuser, over a socket nobody else knows. Passwords come from files, so a new password fits any volume.
\set ON_ERROR_STOP on
\set owner_password `cat "$NEOBANK_CREDENTIALS/owner"`
\set application_password `cat "$NEOBANK_CREDENTIALS/application"`
\set backup_password `cat "$NEOBANK_CREDENTIALS/backup"`
\set metrics_password `cat "$NEOBANK_CREDENTIALS/metrics"`

SELECT format('CREATE ROLE %I', name)
FROM unnest(ARRAY['neobank_owner', 'neobank', 'neobank_0', 'neobank_backup', 'neobank_metrics']) AS name
WHERE NOT EXISTS (SELECT FROM pg_roles WHERE rolname = name) \gexec

-- neobank_owner migrates; neobank is what the application may do, and its members are the application's logins.
ALTER ROLE postgres PASSWORD NULL;
ALTER ROLE neobank NOLOGIN;
ALTER ROLE neobank_owner LOGIN PASSWORD :'owner_password';
ALTER ROLE neobank_0 LOGIN PASSWORD :'application_password';
ALTER ROLE neobank_backup LOGIN PASSWORD :'backup_password';
ALTER ROLE neobank_metrics LOGIN PASSWORD :'metrics_password';
GRANT neobank TO neobank_0;
GRANT pg_read_all_data TO neobank_backup;
GRANT pg_monitor TO neobank_metrics;

-- A request waits for a lock or an answer no longer than its player does; PgBouncer could not keep a session's SET.
ALTER ROLE neobank_0 SET lock_timeout = '5s';
ALTER ROLE neobank_0 SET statement_timeout = '10s';
ALTER ROLE neobank_0 SET idle_in_transaction_session_timeout = '30s';

SELECT 'CREATE DATABASE neobank OWNER neobank_owner'
WHERE NOT EXISTS (SELECT FROM pg_database WHERE datname = 'neobank') \gexec

SELECT format('REVOKE ALL ON DATABASE %I FROM PUBLIC', datname) FROM pg_database \gexec
GRANT CONNECT ON DATABASE neobank TO neobank_owner, neobank, neobank_backup, neobank_metrics;

\connect neobank
ALTER SCHEMA public OWNER TO neobank_owner;
REVOKE ALL ON SCHEMA public FROM PUBLIC;
GRANT USAGE ON SCHEMA public TO neobank, neobank_backup, neobank_metrics;
