-- Sets the roles, the database and its privileges to the wanted state, whatever state the volume is in. start.sh runs this
-- file before every start, as the superuser, over a private socket. Passwords come from files, so a new password works with
-- any volume.
\set ON_ERROR_STOP on
-- Error messages omit the statement, because it may contain a password.
\set VERBOSITY terse
\set owner_password `cat "$NEOBANK_CREDENTIALS/owner"`
\set application_password `cat "$NEOBANK_CREDENTIALS/application"`
\set previous_password `cat "$NEOBANK_CREDENTIALS/application_previous"`
\set number `cat "$NEOBANK_CREDENTIALS/application_number"`
\set backup_password `cat "$NEOBANK_CREDENTIALS/backup"`
\set metrics_password `cat "$NEOBANK_CREDENTIALS/metrics"`

-- Settings of roles and databases override the command line: an old log_statement would write passwords into the log.
SET default_transaction_read_only = off;
SELECT format('ALTER ROLE %s %s RESET ALL', coalesce(quote_ident(rolname), 'ALL'), 'IN DATABASE ' || quote_ident(datname))
FROM pg_db_role_setting
LEFT JOIN pg_roles ON pg_roles.oid = setrole
LEFT JOIN pg_database ON pg_database.oid = setdatabase \gexec

SELECT 'CREATE DATABASE neobank'
WHERE NOT EXISTS (SELECT FROM pg_database WHERE datname = 'neobank') \gexec
-- A new session, without those settings.
\connect neobank
SET client_min_messages = warning;

SELECT format('CREATE ROLE %I', name)
FROM unnest(ARRAY['neobank_owner', 'neobank', 'neobank_0', 'neobank_1', 'neobank_backup', 'neobank_metrics']) AS name
WHERE NOT EXISTS (SELECT FROM pg_roles WHERE rolname = name) \gexec

-- Removes all attributes and memberships that the statements below do not grant.
SELECT format('ALTER ROLE %I NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION NOBYPASSRLS INHERIT '
              'CONNECTION LIMIT -1 VALID UNTIL ''infinity''', rolname)
FROM pg_roles WHERE rolname ~ '^neobank' \gexec
SELECT format('REVOKE %I FROM %I GRANTED BY %I CASCADE', granted.rolname, member.rolname, grantor.rolname)
FROM pg_auth_members
JOIN pg_roles AS granted ON granted.oid = roleid
JOIN pg_roles AS member ON member.oid = pg_auth_members.member
JOIN pg_roles AS grantor ON grantor.oid = pg_auth_members.grantor
WHERE granted.rolname ~ '^neobank' OR member.rolname ~ '^neobank' \gexec

-- neobank_owner migrates; neobank holds the application's privileges, and its members are the application's logins.
ALTER ROLE postgres PASSWORD NULL;
ALTER ROLE neobank NOLOGIN PASSWORD NULL;
ALTER ROLE neobank_owner LOGIN PASSWORD :'owner_password';
ALTER ROLE neobank_backup LOGIN PASSWORD :'backup_password';
ALTER ROLE neobank_metrics LOGIN PASSWORD :'metrics_password';
GRANT neobank TO neobank_0, neobank_1;
GRANT pg_read_all_data TO neobank_backup;
GRANT pg_monitor TO neobank_metrics;

-- The application alternates between two logins: each new number makes the other one current. Pods that still use the
-- previous login keep working until `close_previous_login` closes it. The comment on the role keeps a closed login closed.
SELECT 'neobank_' || (:number - 1) % 2 AS current, 'neobank_' || :number % 2 AS previous \gset
SELECT :number = 1 OR coalesce(shobj_description(oid, 'pg_authid') = 'closed at rotation ' || :number, false) AS closed
FROM pg_roles WHERE rolname = :'previous' \gset
ALTER ROLE :"current" LOGIN PASSWORD :'application_password';
COMMENT ON ROLE :"current" IS NULL;
\if :closed
    ALTER ROLE :"previous" NOLOGIN PASSWORD NULL;
\else
    ALTER ROLE :"previous" LOGIN PASSWORD :'previous_password';
\endif

-- Timeouts end statements whose player no longer waits. They belong to the role, because PgBouncer keeps no session's SET.
SELECT format('ALTER ROLE %I SET %s', login, setting)
FROM unnest(ARRAY['neobank_0', 'neobank_1']) AS login, unnest(ARRAY[
    'lock_timeout TO ''5s''', 'statement_timeout TO ''10s''', 'idle_in_transaction_session_timeout TO ''30s'''
]) AS setting \gexec

ALTER DATABASE neobank OWNER TO neobank_owner;
SELECT format('REVOKE ALL ON DATABASE %I FROM PUBLIC', datname) FROM pg_database \gexec
SELECT string_agg(quote_ident(rolname), ', ') AS granted FROM pg_roles
WHERE rolname ~ '^neobank' AND rolname <> 'neobank_owner' \gset
REVOKE ALL ON DATABASE neobank FROM :granted CASCADE;
GRANT CONNECT ON DATABASE neobank TO neobank_owner, neobank, neobank_backup, neobank_metrics;

ALTER SCHEMA public OWNER TO neobank_owner;
REVOKE ALL ON SCHEMA public FROM PUBLIC, :granted CASCADE;
GRANT USAGE ON SCHEMA public TO neobank, neobank_backup, neobank_metrics;

-- Takes from PUBLIC what PostgreSQL grants to every role and the bank does not use: large objects, which are outside all
-- tables and grants, and advisory locks, with which a role could block the audit log and upgrades.
SELECT format('REVOKE EXECUTE ON FUNCTION %s FROM PUBLIC', oid::regprocedure) FROM pg_proc
WHERE pronamespace = 'pg_catalog'::regnamespace
AND proname ~ '^(lo_.*|loread|lowrite|pg_(try_)?advisory_.*)$' \gexec
SELECT format('GRANT EXECUTE ON FUNCTION %s TO neobank_owner', oid::regprocedure) FROM pg_proc
WHERE pronamespace = 'pg_catalog'::regnamespace AND proname ~ '^pg_(try_)?advisory_.*$' \gexec

-- Closes the previous login and ends its sessions, when no pod uses it any more. The owner may not alter roles, so this
-- function does it with the superuser's privileges: for this role only, and only at the number that the roles have.
CREATE SCHEMA IF NOT EXISTS administration;
ALTER SCHEMA administration OWNER TO postgres;
SELECT format($text$
    CREATE OR REPLACE FUNCTION administration.close_previous_login(p_number integer) RETURNS void
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $body$
    BEGIN
        IF p_number <> %1$s THEN
            RAISE 'the roles are those of rotation %1$s, not %%: first restart the database with the new credentials',
                p_number;
        END IF;
        ALTER ROLE %2$I NOLOGIN PASSWORD NULL;
        COMMENT ON ROLE %2$I IS 'closed at rotation %1$s';
        PERFORM pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = '%2$s';
    END $body$ $text$, :number, :'previous') \gexec
REVOKE ALL ON SCHEMA administration FROM PUBLIC;
REVOKE ALL ON FUNCTION administration.close_previous_login FROM PUBLIC;
GRANT USAGE ON SCHEMA administration TO neobank_owner, neobank_metrics;
GRANT EXECUTE ON FUNCTION administration.close_previous_login TO neobank_owner;

-- Statistics of statements, without their values; start.sh loads the library if this build of PostgreSQL has it.
SELECT 'CREATE EXTENSION IF NOT EXISTS pg_stat_statements SCHEMA administration'
FROM pg_available_extensions WHERE name = 'pg_stat_statements' \gexec
