"""The application's two logins: old pods keep theirs during a rotation, and it is closed when they have ended."""

import re
import secrets

import psycopg2
import pytest

from tests.database.support import as_role, ask, password, pod, refusal, session
from tools.postgres import NUMBER, Postgres

CLOSE = "SELECT administration.close_previous_login({number})"


def rotate(server: Postgres) -> None:
    """Change the files as the next rotation number changes the Secret, and restart the server."""
    server.stop()
    folder = server.credentials
    (folder / "application_previous").write_text(password(server, "application"), encoding="utf-8")
    (folder / "application").write_text(secrets.token_urlsafe(24), encoding="utf-8")
    (folder / NUMBER).write_text(str(int(password(server, NUMBER)) + 1), encoding="utf-8")
    server.start()


def can_log_in(server: Postgres, login: str, file: str) -> bool:
    """Return whether a login gets in under its own name with the password in a file."""
    where = as_role(server, "application", user=login, password=password(server, file))
    try:
        return ask(where, "SELECT current_user") == [(login,)]
    except psycopg2.OperationalError as error:
        refused = "authentication failed" in str(error) or "not permitted to log in" in str(error)
        if not refused:
            raise
        return False


def test_a_new_volume_has_one_open_login(running: Postgres) -> None:
    assert can_log_in(running, "neobank_0", "application")
    assert not can_log_in(running, "neobank_1", "application")
    assert not can_log_in(running, "neobank_1", "application_previous")


def test_the_previous_login_works_until_it_is_closed_and_then_stays_closed(running: Postgres) -> None:
    rotate(running)
    assert can_log_in(running, "neobank_1", "application")
    assert can_log_in(running, "neobank_0", "application_previous")
    old = as_role(running, "application", password=password(running, "application_previous"))
    with session(old) as connection:
        ask(as_role(running, "owner"), CLOSE.format(number=2))
        with pytest.raises(psycopg2.Error, match="terminat"), connection.cursor() as cursor:
            cursor.execute("SELECT 1")
    for _ in range(2):
        assert can_log_in(running, "neobank_1", "application")
        assert not can_log_in(running, "neobank_0", "application_previous")
        running.stop()
        running.start()  # a start with the same number opens no login


def test_rotations_alternate_between_the_two_logins(running: Postgres) -> None:
    rotate(running)
    ask(as_role(running, "owner"), CLOSE.format(number=2))
    rotate(running)
    assert can_log_in(running, "neobank_0", "application")
    assert can_log_in(running, "neobank_1", "application_previous")
    ask(as_role(running, "owner"), CLOSE.format(number=3))
    assert not can_log_in(running, "neobank_1", "application_previous")


def test_a_rotation_after_one_that_was_not_closed_opens_the_newest_two(running: Postgres) -> None:
    first = password(running, "application")
    rotate(running)
    rotate(running)
    assert can_log_in(running, "neobank_0", "application")
    assert can_log_in(running, "neobank_1", "application_previous")
    assert "authentication failed" in refusal(as_role(running, "application", user="neobank_0", password=first))


def test_closing_with_another_number_is_rejected_and_changes_nothing(running: Postgres) -> None:
    rotate(running)
    assert re.search(r"rotation 2\b.*\b3\b", refusal(as_role(running, "owner"), CLOSE.format(number=3)))
    assert can_log_in(running, "neobank_0", "application_previous")


@pytest.mark.parametrize("role", ["application", "backup", "metrics"])
def test_only_the_owner_can_close_a_login(bank: Postgres, role: str) -> None:
    assert "permission denied for" in refusal(as_role(bank, role), CLOSE.format(number=1))


@pytest.mark.parametrize("statement", ["DROP SCHEMA administration CASCADE", "ALTER ROLE neobank_1 LOGIN"])
def test_the_owner_cannot_drop_the_schema_or_open_a_login(bank: Postgres, statement: str) -> None:
    refused = refusal(as_role(bank, "owner"), statement)
    assert "must be owner" in refused or "permission denied" in refused


@pytest.mark.parametrize("content", ["0", "-1", "one", "1.5", "1; DROP ROLE neobank", "99999999"])
def test_an_invalid_rotation_number_is_rejected(running: Postgres, content: str) -> None:
    running.stop()
    (running.credentials / NUMBER).write_text(content, encoding="utf-8")
    prepare = pod(running, "prepare")
    assert prepare.ends() == 1
    assert str(running.credentials / NUMBER) in prepare.errors()
    assert "whole number from 1" in prepare.errors()
