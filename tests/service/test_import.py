"""The import of players from CSV: creates all of them, each with a one-time password, or none."""

import csv
import io
import re
import tracemalloc
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest
from sqlalchemy import Engine, text
from werkzeug.test import TestResponse

from neobank import migrations
from neobank.application import create_app
from neobank.settings import ServingSettings, UpgradeSettings
from tests.service.support import ADMINISTRATOR, Join, LoggedIn, log_in

pytestmark = pytest.mark.usefixtures("books")

PLAYERS = text("SELECT count(*) FROM players")


def send(by: LoggedIn, body: str | bytes, content_type: str = "text/csv", once: str | None = None) -> TestResponse:
    headers = by.headers | ({} if once is None else {"Idempotency-Key": once})
    return by.client.post("/api/admin/users/import", data=body, content_type=content_type, headers=headers)


def count(engine: Engine) -> int:
    with engine.connect() as connection:
        found: int = connection.execute(PLAYERS).scalar_one()
    return found


def test_imported_players_can_log_in_and_have_their_opening_balance(organiser: LoggedIn) -> None:
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
        ("", "first line.*columns"),
        ("name", r"\b0 players"),
        ("Neo\nTrinity", "first line.*columns"),
        ("name,password\nNeo,x", "first line.*columns"),
        ("name,name\nNeo,x", "first line.*columns"),
        ("name\nNeo\nneo\n", r"Line 3: .*\bneo\b.*\b2\b"),
        ("name\nOrganiser\n", r"Line 2: .*\bOrganiser\b.*taken"),
        ("name\nNeo,x\n", r"Line 2: .*cells"),
        ("name,faction\nNeo,Nobody\n", r"Line 2: .*faction Nobody\b"),
        ("name,opening_balance\nNeo,-1\nTank,x\n", r"Line 3: .*amount.*number"),
        ("name,opening_balance\nNeo,1.001\n", r"Line 2: .*amount.*two decimals"),
        ("name,opening_balance\nNeo,NaN\n", r"Line 2: .*amount.*finite"),
        ("name\n" + "x" * 101, r"Line 2: .*name.*at most 100\b"),
        ('name\n""\n', r"Line 2: .*name.*at least one\b"),
        ('name\n"Neo\n', "not CSV"),
        ("name\n" + "".join(f"Player {index}\n" for index in range(2001)), r"\b2000 players"),
        ("name,faction\nNeo," + "x" * 51, r"Line 2: .*faction.*at most 50\b"),
        ("name\n\x00Neo\n", "Line 2"),
        (b"name\n\xff\n", "UTF-8"),
    ],
)
def test_a_list_with_an_invalid_line_creates_no_player(
    organiser: LoggedIn, engine: Engine, body: str | bytes, named: str
) -> None:
    refused = send(organiser, body)
    assert refused.status_code == 400
    assert re.search(named, refused.get_json()["error"]), refused.text
    assert count(engine) == 1


def test_the_error_names_every_invalid_line(organiser: LoggedIn) -> None:
    """One response names the problems of the lines themselves and those that need the database."""
    lines = ["name,faction,opening_balance", "Organiser,,", "Neo,,x", "Trinity,Nobody,", "Tank,,", "tank,Nobody,"]
    error = send(organiser, "\n".join(lines)).get_json()["error"]
    problems = dict(re.findall(r"Line (\d+): (.*?\.)(?= |$)", error))
    parts = {
        "2": ["name Organiser"],
        "3": ["amount"],
        "4": ["faction Nobody"],
        "6": ["name tank", "5", "faction Nobody"],
    }
    assert problems.keys() == parts.keys(), error
    assert {line: [part for part in parts[line] if part in text] for line, text in problems.items()} == parts


def test_only_csv_of_a_limited_size_is_accepted(organiser: LoggedIn, player: Join) -> None:
    assert send(organiser, "name\nNeo", "application/json").status_code == 415
    assert send(organiser, "name\n" + "x" * 2 * 1024 * 1024).status_code == 413
    assert send(player("Neo"), "name\nTank").status_code == 403


def test_two_thousand_players_are_created_once(organiser: LoggedIn, engine: Engine) -> None:
    body = "name\n" + "".join(f"Player {index}\n" for index in range(2000))
    assert send(organiser, body).status_code == 201
    assert count(engine) == 2001
    again = send(organiser, body)
    assert again.status_code == 400
    assert "1950 more" in again.get_json()["error"]
    with engine.connect() as connection:
        assert connection.execute(text("SELECT count(*) FROM audit_logs")).scalar_one() == 1


def test_a_repeated_import_with_one_key_returns_the_same_passwords(organiser: LoggedIn, engine: Engine) -> None:
    body = "name\nNeo\nTrinity\n"
    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(lambda _: send(organiser, body, once="friday"), range(4)))
    assert {(answer.status_code, answer.text) for answer in answers} == {(201, answers[0].text)}, answers
    assert answers[0].content_type == "text/csv; charset=utf-8"
    assert count(engine) == 3
    for row in csv.DictReader(io.StringIO(answers[0].text, newline="")):
        who = {"character_name": row["Character Name"], "password": row["One-time Password"]}
        assert organiser.client.post("/api/v1/auth/login", json=who).status_code == 200
    assert send(organiser, "name\nTank\n", once="friday").status_code == 422
    assert send(organiser, body, once="saturday").status_code == 400
    assert count(engine) == 3


def test_the_database_contains_no_password_of_an_import(
    organiser: LoggedIn, engine: Engine, settings: ServingSettings
) -> None:
    text_ = send(organiser, "name\nNeo\n", once="friday").text
    [row] = csv.DictReader(io.StringIO(text_, newline=""))
    with engine.connect() as connection:
        stored = connection.execute(text("SELECT answer::text FROM idempotency_records")).scalar_one()
    assert row["Account Number"] in stored
    assert row["One-time Password"] not in stored
    other = create_app(replace(settings, secret_key=b"other" * 8)).test_client()
    session = log_in(other, ADMINISTRATOR.name, ADMINISTRATOR.password)
    refused = send(session, "name\nNeo\n", once="friday")
    assert (refused.status_code, "One-time" in refused.text) == (409, False)


def test_passwords_of_different_imports_differ(organiser: LoggedIn) -> None:
    found: set[str] = set()
    for name in ("Neo", "Trinity"):
        body = send(organiser, f"name\n{name}\n{name} 2\n").text
        found |= {row["One-time Password"] for row in csv.DictReader(io.StringIO(body, newline=""))}
    assert len(found) == 4
    assert {len(password) for password in found} == {12}


@pytest.mark.parametrize(
    "body",
    [
        "name\n" + "a\n" * 500_000,
        "name\n" + '"a","b"\n' * 125_000,
        "name\n" + "," * 1_000_000,
        "," * 1_000_000,
        "name,faction\n" + f"a,{'x' * 500}\n" * 2000,
        "name\n" + "\n" * 1_000_000,
        "name\n" + "".join(f"Player {index}{'x' * 80}\n" for index in range(2000)),
    ],
    ids=["lines", "cells", "columns", "titles", "factions", "blank lines", "players"],
)
def test_an_import_needs_a_small_multiple_of_its_size_in_memory(organiser: LoggedIn, body: str) -> None:
    content = body.encode()
    tracemalloc.start()
    try:
        assert send(organiser, content).status_code in {201, 400}
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 40 * 1024 * 1024


def test_no_player_is_imported_while_the_bank_is_read_only(organiser: LoggedIn, owner: Engine, engine: Engine) -> None:
    with owner.begin() as connection:
        connection.execute(text("UPDATE switches SET read_only = true"))
    assert send(organiser, "name\nNeo").status_code == 403
    assert count(engine) == 1


def test_an_upgrade_sets_the_opening_balance_of_registrations_and_imports(
    organiser: LoggedIn, fresh: UpgradeSettings
) -> None:
    client = organiser.client
    migrations.upgrade(replace(fresh, opening_balance=250_50))
    try:
        who = {"character_name": "Neo", "password": "password of Neo"}
        registered = client.post("/api/v1/auth/register", json=who)
        assert registered.get_json()["user"]["balance"] == 250.5
        rows = "name,opening_balance\nUsual,\nOwn,7\nNone,0\n"
        imported = client.post("/api/admin/users/import", data=rows, content_type="text/csv", headers=organiser.headers)
        assert imported.status_code == 201, imported.text
        for name, balance in [("Usual", 250.5), ("Own", 7), ("None", 0)]:
            [found] = organiser.administer("GET", "/users/search", q=name).get_json()["users"]
            assert found["balance"] == balance
    finally:
        migrations.upgrade(fresh)
