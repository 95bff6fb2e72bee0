"""The application's two logins: a new password meets old pods, and the old one ends when the last of them has gone."""

import secrets

import psycopg2
import pytest

from tests.database.support import as_role, ask, password, pod, refusal, session
from tools.postgres import NUMBER, Postgres

CLOSE = "SELECT administration.close_previous_login({number})"


def rotate(server: Postgres) -> None:
    """Do to the files what another rotation number does to the Secret, and start the server anew."""
    server.stop()
    folder = server.credentials
    (folder / "application_previous").write_text(password(server, "application"), encoding="utf-8")
    (folder / "application").write_text(secrets.token_urlsafe(24), encoding="utf-8")
    (folder / NUMBER).write_text(str(int(password(server, NUMBER)) + 1), encoding="utf-8")
    server.start()


def enters(server: Postgres, login: str, file: str) -> bool:
    """Tell whether a login gets in with the password of a file, and as itself."""
    where = as_role(server, "application", user=login, password=password(server, file))
    try:
        return ask(where, "SELECT current_user") == [(login,)]
    except psycopg2.OperationalError as error:
        refused = "authentication failed" in str(error) or "not permitted to log in" in str(error)
        if not refused:
            raise
        return False


def test_at_first_there_is_one_login(running: Postgres) -> None:
    assert enters(running, "neobank_0", "application")
    assert not enters(running, "neobank_1", "application")
    assert not enters(running, "neobank_1", "application_previous")


def test_old_pods_go_on_until_their_login_is_closed_and_it_stays_closed(running: Postgres) -> None:
    rotate(running)
    assert enters(running, "neobank_1", "application")
    assert enters(running, "neobank_0", "application_previous")
    old = as_role(running, "application", password=password(running, "application_previous"))
    with session(old) as connection:
        ask(as_role(running, "owner"), CLOSE.format(number=2))
        with pytest.raises(psycopg2.Error, match="terminat"), connection.cursor() as cursor:
            cursor.execute("SELECT 1")
    for _ in range(2):
        assert enters(running, "neobank_1", "application")
        assert not enters(running, "neobank_0", "application_previous")
        running.stop()
        running.start()  # a start at the same number opens nothing


def test_logins_take_turns(running: Postgres) -> None:
    rotate(running)
    ask(as_role(running, "owner"), CLOSE.format(number=2))
    rotate(running)
    assert enters(running, "neobank_0", "application")
    assert enters(running, "neobank_1", "application_previous")
    ask(as_role(running, "owner"), CLOSE.format(number=3))
    assert not enters(running, "neobank_1", "application_previous")


def test_a_rotation_that_follows_one_never_closed_opens_the_right_two(running: Postgres) -> None:
    first = password(running, "application")
    rotate(running)
    rotate(running)
    assert enters(running, "neobank_0", "application")
    assert enters(running, "neobank_1", "application_previous")
    assert "authentication failed" in refusal(as_role(running, "application", user="neobank_0", password=first))


def test_closing_is_refused_at_another_number_and_changes_nothing(running: Postgres) -> None:
    rotate(running)
    assert "rotation 2, not 3" in refusal(as_role(running, "owner"), CLOSE.format(number=3))
    assert enters(running, "neobank_0", "application_previous")


@pytest.mark.parametrize("role", ["application", "backup", "metrics"])
def test_only_the_owner_closes_a_login(bank: Postgres, role: str) -> None:
    assert "permission denied for" in refusal(as_role(bank, role), CLOSE.format(number=1))


@pytest.mark.parametrize("statement", ["DROP SCHEMA administration CASCADE", "ALTER ROLE neobank_1 LOGIN"])
def test_the_owner_can_close_and_nothing_more(bank: Postgres, statement: str) -> None:
    refused = refusal(as_role(bank, "owner"), statement)
    assert "must be owner" in refused or "permission denied" in refused


@pytest.mark.parametrize("content", ["0", "-1", "one", "1.5", "1; DROP ROLE neobank", "99999999"])
def test_a_number_that_is_none_is_refused(running: Postgres, content: str) -> None:
    running.stop()
    (running.credentials / NUMBER).write_text(content, encoding="utf-8")
    prepare = pod(running, "prepare")
    assert prepare.ends() == 1
    assert "is not a whole number from 1" in prepare.says()
