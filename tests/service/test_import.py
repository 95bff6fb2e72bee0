"""Players from a list: all of them, each with a password for one time, or nobody."""

import csv
import io

import pytest
from sqlalchemy import Engine, text
from werkzeug.test import TestResponse

from tests.service.support import Join, LoggedIn

pytestmark = pytest.mark.usefixtures("books")

PLAYERS = text("SELECT count(*) FROM players")


def send(by: LoggedIn, body: str | bytes, content_type: str = "text/csv") -> TestResponse:
    return by.client.post("/api/admin/users/import", data=body, content_type=content_type, headers=by.headers)


def count(engine: Engine) -> int:
    with engine.connect() as connection:
        found: int = connection.execute(PLAYERS).scalar_one()
    return found


def test_everybody_on_the_list_can_log_in_once_and_has_their_money(organiser: LoggedIn) -> None:
    answer = send(
        organiser, "\ufeffName,faction,opening balance\r\nNeo,runners,12.5\r\nTrinity,,\r\nTank,CorpSec,0\r\n"
    )
    assert answer.status_code == 201, answer.text
    assert answer.content_type == "text/csv; charset=utf-8"
    rows = list(csv.DictReader(io.StringIO(answer.text, newline="")))
    assert [row["Character Name"] for row in rows] == ["Neo", "Trinity", "Tank"]
    balances = []
    for row in rows:
        who = {"character_name": row["Character Name"], "password": row["One-time Password"]}
        logged_in = organiser.client.post("/api/v1/auth/login", json=who).get_json()
        assert logged_in["must_change_password"] is True
        assert logged_in["user"]["account_number"] == row["Account Number"]
        balances.append((logged_in["user"]["balance"], logged_in["user"]["faction"]))
    assert balances == [(12.5, "Runners"), (1000, None), (0, "CorpSec")]


@pytest.mark.parametrize(
    ("body", "named"),
    [
        ("", "The first line names the columns"),
        ("name", "The list has 0 players"),
        ("Neo\nTrinity", "The first line names the columns"),
        ("name,password\nNeo,x", "The first line names the columns"),
        ("name,name\nNeo,x", "The first line names the columns"),
        ("name\nNeo\nneo\n", "Line 3: the name neo stands in line 2 already."),
        ("name\nOrganiser\n", "Line 2: the name Organiser is taken."),
        ("name\nNeo,x\n", "Line 2: it has more cells"),
        ("name,faction\nNeo,Nobody\n", "Line 2: there is no faction Nobody."),
        ("name,opening_balance\nNeo,-1\nTank,x\n", "Line 3: an amount is a number."),
        ("name,opening_balance\nNeo,1.001\n", "Line 2: an amount has at most two decimals."),
        ("name,opening_balance\nNeo,NaN\n", "Line 2: an amount is a finite number."),
        ("name\n" + "x" * 101, "Line 2: a name has at most 100 characters."),
        ('name\n""\n', "Line 2: a name has at least one character."),
        ('name\n"Neo\n', "This is not CSV"),
        ("name\n" + "".join(f"Player {index}\n" for index in range(2001)), "2001 players"),
        ("name\n\x00Neo\n", "Line 2"),
        (b"name\n\xff\n", "UTF-8"),
    ],
)
def test_a_list_with_a_bad_line_creates_nobody(
    organiser: LoggedIn, engine: Engine, body: str | bytes, named: str
) -> None:
    refused = send(organiser, body)
    assert refused.status_code == 400
    assert named in refused.get_json()["error"], refused.text
    assert count(engine) == 1


def test_each_bad_line_is_named(organiser: LoggedIn) -> None:
    """In one answer, whatever is wrong with it: what can be read off the line, and what only the books know."""
    lines = ["name,faction,opening_balance", "Organiser,,", "Neo,,x", "Trinity,Nobody,", "Tank,,", "tank,Nobody,"]
    assert send(organiser, "\n".join(lines)).get_json()["error"] == (
        "Nobody was created. Line 2: the name Organiser is taken. Line 3: an amount is a number. "
        "Line 4: there is no faction Nobody. "
        "Line 6: the name tank stands in line 5 already and there is no faction Nobody."
    )


def test_only_csv_of_a_sensible_size_is_taken(organiser: LoggedIn, player: Join) -> None:
    assert send(organiser, "name\nNeo", "application/json").status_code == 415
    assert send(organiser, "name\n" + "x" * 2 * 1024 * 1024).status_code == 413
    assert send(player("Neo"), "name\nTank").status_code == 403


def test_two_thousand_players_are_created_at_once_and_a_second_time_none(organiser: LoggedIn, engine: Engine) -> None:
    body = "name\n" + "".join(f"Player {index}\n" for index in range(2000))
    assert send(organiser, body).status_code == 201
    assert count(engine) == 2001
    again = send(organiser, body)
    assert again.status_code == 400
    assert "And 1950 more." in again.get_json()["error"]
    with engine.connect() as connection:
        assert connection.execute(text("SELECT count(*) FROM audit_logs")).scalar_one() == 1


def test_nobody_is_created_while_the_bank_is_read_only(organiser: LoggedIn, owner: Engine, engine: Engine) -> None:
    with owner.begin() as connection:
        connection.execute(text("UPDATE switches SET read_only = true"))
    assert send(organiser, "name\nNeo").status_code == 403
    assert count(engine) == 1
