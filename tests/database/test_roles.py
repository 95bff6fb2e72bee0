"""Each role can log in only to its own database with its own password, and has only the rights its task needs."""

import os
import subprocess

import pytest

from tests.database.support import as_role, as_superuser, ask, password, refusal
from tools.postgres import LOGINS, START, Postgres

EVERY_ROLE = pytest.mark.parametrize("role", LOGINS)
FORBIDDEN = [
    "CREATE TABLE mine (id bigint)",
    "CREATE TEMP TABLE mine (id bigint)",
    "CREATE SCHEMA mine",
    "CREATE ROLE mine",
    "CREATE DATABASE mine",
    "CREATE FUNCTION mine() RETURNS int LANGUAGE sql AS 'SELECT 1'",
    "INSERT INTO payments VALUES (2)",
    "DELETE FROM payments",
    "DROP TABLE payments",
    "SET ROLE neobank_owner",
    "SET ROLE postgres",
    "SET SESSION AUTHORIZATION postgres",
    "ALTER SYSTEM SET fsync = off",
    "COPY (SELECT 1) TO PROGRAM 'true'",
    "SELECT pg_read_file('PG_VERSION')",
]
LARGE_OBJECTS = [
    "SELECT lo_creat(-1)",
    "SELECT lo_create(0)",
    "SELECT lo_from_bytea(0, 'x')",
    "SELECT lo_put(1, 0, 'x')",
    "SELECT lo_get(1)",
    "SELECT lo_open(1, 131072)",
    "SELECT lowrite(0, 'x')",
    "SELECT lo_unlink(1)",
]
LOCKS = ["SELECT pg_advisory_lock(1)", "SELECT pg_advisory_xact_lock(1)", "SELECT pg_try_advisory_lock_shared(1, 2)"]


@EVERY_ROLE
@pytest.mark.parametrize("database", ["postgres", "template1", "template0"])
def test_a_role_cannot_log_in_to_another_database(bank: Postgres, role: str, database: str) -> None:
    assert "no pg_hba.conf entry" in refusal(as_role(bank, role, dbname=database))


@EVERY_ROLE
@pytest.mark.parametrize(("password", "words"), [("", "no password supplied"), ("wrong", "authentication failed")])
def test_a_role_needs_its_password(bank: Postgres, role: str, password: str, words: str) -> None:
    assert words in refusal(as_role(bank, role, password=password))


@EVERY_ROLE
def test_a_role_logs_in_only_over_tcp(bank: Postgres, role: str) -> None:
    assert "no pg_hba.conf entry" in refusal(as_role(bank, role, host=str(bank.sockets)))


@EVERY_ROLE
def test_every_role_has_its_own_password(bank: Postgres, role: str) -> None:
    for other in LOGINS.keys() - {role}:
        refused = refusal(as_role(bank, role, user=LOGINS[other]))
        assert "authentication failed" in refused


@pytest.mark.parametrize("database", ["neobank", "postgres"])
def test_the_superuser_has_no_password_and_cannot_log_in_over_the_network(bank: Postgres, database: str) -> None:
    assert "no pg_hba.conf entry" in refusal(as_role(bank, "owner", user="postgres", dbname=database))
    superusers = "SELECT rolname, rolpassword FROM pg_authid WHERE rolsuper"
    assert ask(as_superuser(bank), superusers) == [("postgres", None)]


def test_the_applications_group_role_cannot_log_in(bank: Postgres) -> None:
    assert ask(as_superuser(bank), "SELECT rolcanlogin FROM pg_roles WHERE rolname = 'neobank'") == [(False,)]
    assert "authentication failed" in refusal(as_role(bank, "application", user="neobank"))


def test_public_has_no_rights_on_any_database_or_the_schema(bank: Postgres) -> None:
    of_public = (
        "SELECT datname FROM pg_database, aclexplode(coalesce(datacl, acldefault('d', datdba))) WHERE grantee = 0"
        " UNION ALL SELECT nspname FROM pg_namespace, aclexplode(coalesce(nspacl, acldefault('n', nspowner)))"
        " WHERE grantee = 0 AND nspname = 'public'"
    )
    assert ask(as_superuser(bank), of_public) == []


@pytest.mark.parametrize("role", ["application", "backup", "metrics"])
@pytest.mark.parametrize("statement", [*FORBIDDEN, *LARGE_OBJECTS, *LOCKS])
def test_a_role_other_than_the_owner_cannot_change_anything_or_switch_roles(
    bank: Postgres, role: str, statement: str
) -> None:
    refused = refusal(as_role(bank, role), statement)
    assert "permission denied" in refused or "must be owner" in refused, refused


@pytest.mark.parametrize(
    "statement", ["CREATE ROLE mine", "CREATE DATABASE mine", "SET ROLE postgres", *FORBIDDEN[-4:]]
)
def test_the_owner_of_the_schema_has_no_superuser_rights(bank: Postgres, statement: str) -> None:
    assert "permission denied" in refusal(as_role(bank, "owner"), statement)


@pytest.mark.parametrize("statement", LARGE_OBJECTS)
def test_no_role_has_large_objects(bank: Postgres, statement: str) -> None:
    assert "permission denied" in refusal(as_role(bank, "owner"), statement)


@pytest.mark.parametrize("role", ["application", "metrics"])
@pytest.mark.parametrize("table", ["payments", "pg_authid"])
def test_a_table_without_a_grant_cannot_be_read(bank: Postgres, role: str, table: str) -> None:
    assert "permission denied" in refusal(as_role(bank, role), f"TABLE {table}")


def test_the_backup_role_can_dump_everything(bank: Postgres) -> None:
    login = ["--host=127.0.0.1", f"--port={bank.port}", f"--username={LOGINS['backup']}", "--dbname=neobank"]
    dump = subprocess.run(
        [str(bank.binaries / "pg_dump"), *login, "--no-password"],
        env={"PATH": os.environ["PATH"], "PGPASSWORD": password(bank, "backup")},
        check=True,
        capture_output=True,
        text=True,
    )
    assert "COPY public.payments (id) FROM stdin;\n1\n" in dump.stdout


def test_the_metrics_role_sees_the_statements_of_others(bank: Postgres) -> None:
    seen = ask(
        as_role(bank, "metrics"), "SELECT count(*) FROM pg_stat_activity WHERE query = '<insufficient privilege>'"
    )
    assert seen == [(0,)]


def test_the_application_has_timeouts(bank: Postgres) -> None:
    limits = {"lock_timeout": "5s", "statement_timeout": "10s", "idle_in_transaction_session_timeout": "30s"}
    for limit, value in limits.items():
        assert ask(as_role(bank, "application"), f"SHOW {limit}") == [(value,)]


def test_pg_hba_has_only_our_rules_and_passwords_are_scram_hashes(bank: Postgres) -> None:
    theirs = "SELECT line_number, type, database, user_name, auth_method FROM pg_hba_file_rules"
    written = START.with_name("pg_hba.conf").read_text(encoding="utf-8")
    assert len(ask(as_superuser(bank), theirs)) == len([it for it in written.splitlines() if not it.startswith("#")])
    rules = ask(as_superuser(bank), "SELECT DISTINCT type, auth_method, error FROM pg_hba_file_rules ORDER BY 1")
    assert rules == [("host", "scram-sha-256", None), ("local", "peer", None)]
    hashes = ask(as_superuser(bank), "SELECT bool_and(rolpassword LIKE 'SCRAM-SHA-256$%') FROM pg_authid")
    assert hashes == [(True,)]
