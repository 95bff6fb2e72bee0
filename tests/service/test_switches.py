"""The organisers' switches: no money moves while the bank is read-only, and registration can be restricted."""

from collections.abc import Callable
from dataclasses import replace

import pytest
from flask.testing import FlaskClient
from sqlalchemy import Engine, text
from sqlalchemy.exc import IntegrityError, OperationalError

from neobank import migrations
from neobank.ledger.operations import ReadOnly
from neobank.settings import Administrator, UpgradeSettings
from neobank.switches.operations import share_switches
from tests.service.support import Join, LoggedIn, open_players

pytestmark = pytest.mark.usefixtures("books")

Switch = Callable[..., None]
NEO = {"character_name": "Neo", "password": "white rabbit"}


@pytest.fixture
def switch(owner: Engine, fresh: UpgradeSettings) -> Switch:
    del fresh

    def to(*, read_only: bool = False, registration: str = "open", event_code: str | None = None) -> None:
        values = {"read_only": read_only, "registration": registration, "event_code": event_code}
        with owner.begin() as connection:
            connection.execute(
                text(
                    "UPDATE switches SET read_only = :read_only, registration = :registration, event_code = :event_code"
                ),
                values,
            )

    return to


def test_the_status_shows_the_switches_without_the_event_code(client: FlaskClient, switch: Switch) -> None:
    games = ["glitch_grid", "starlight_smuggler"]
    assert client.get("/api/v1/status").get_json() == {"read_only": False, "registration": "open", "games": games}
    switch(read_only=True, registration="code", event_code="Sprawl")
    answer = client.get("/api/v1/status")
    assert answer.get_json() == {"read_only": True, "registration": "code", "games": games}
    assert "Sprawl" not in answer.text


def test_the_status_lists_the_open_games(client: FlaskClient, organiser: LoggedIn) -> None:
    for is_enabled, games in [(False, ["starlight_smuggler"]), (True, ["glitch_grid", "starlight_smuggler"])]:
        path = "/api/admin/casino/config/glitch_grid"
        assert client.put(path, json={"is_enabled": is_enabled}, headers=organiser.headers).status_code == 200
        assert client.get("/api/v1/status").get_json()["games"] == games


def test_no_money_moves_while_the_bank_is_read_only(player: Join, switch: Switch) -> None:
    neo, trinity = player("Neo"), player("Trinity")
    switch(read_only=True)
    payment = {"to_account": trinity.number, "amount": 1}
    refused = neo.send("POST", "/transactions", **payment)
    assert (refused.status_code, refused.content_type) == (403, "application/problem+json")
    assert "read-only" in refused.get_json()["detail"]
    assert neo.client.post("/api/v1/auth/register", json=NEO | {"character_name": "Cypher"}).status_code == 403
    assert neo.send("GET", "/players/lookup", name="Cypher").status_code == 404
    assert neo.balance() == 1000
    assert neo.send("PUT", "/account/profile", faction="Runners").status_code == 200
    switch(read_only=False)
    assert neo.send("POST", "/transactions", **payment).status_code == 201


def test_the_database_enforces_read_only(engine: Engine, switch: Switch) -> None:
    switch(read_only=True)
    with pytest.raises(ReadOnly), engine.begin() as connection:
        open_players(connection, 1)


def test_an_upgrade_can_create_an_administrator_while_read_only(
    engine: Engine, fresh: UpgradeSettings, switch: Switch
) -> None:
    switch(read_only=True)
    migrations.upgrade(replace(fresh, administrator=Administrator("Oracle", "cookies, hot")))
    with engine.connect() as connection:
        assert connection.execute(text("SELECT count(*) FROM players")).scalar_one() == 2


def test_closed_registration_rejects_new_players(client: FlaskClient, player: Join, switch: Switch) -> None:
    player("Trinity")
    switch(registration="closed", event_code="Sprawl")
    refused = client.post("/api/v1/auth/register", json=NEO | {"code": "Sprawl"})
    assert (refused.status_code, refused.content_type) == (403, "application/problem+json")
    assert "closed" in refused.get_json()["detail"]
    who = {"character_name": "Trinity", "password": "password of Trinity"}
    assert client.post("/api/v1/auth/login", json=who).status_code == 200


def test_the_switches_do_not_change_during_a_registration(
    engine: Engine, owner: Engine, fresh: UpgradeSettings
) -> None:
    del fresh
    change = text("SELECT FROM switches FOR NO KEY UPDATE NOWAIT")
    with engine.begin() as connection:
        share_switches(connection)
        with engine.begin() as another:
            share_switches(another)
        with owner.begin() as other, pytest.raises(OperationalError, match="could not obtain lock"):
            other.execute(change)


def test_registration_by_code_accepts_the_event_code_only(client: FlaskClient, switch: Switch) -> None:
    switch(registration="code", event_code="Sprawl 77")
    assert client.post("/api/v1/auth/register", json=NEO).status_code == 403
    for code in (None, "", " ", "Sprawl 7", "Sprawl 777"):
        refused = client.post("/api/v1/auth/register", json=NEO | {"code": code})
        assert refused.status_code == 403, code
        assert "Sprawl" not in refused.text
    for no_code in (77, "x" * 101, "\x00"):
        assert client.post("/api/v1/auth/register", json={**NEO, "code": no_code}).status_code == 400, no_code
    assert client.post("/api/v1/auth/register", json=NEO | {"code": " sprawl  77"}).status_code == 201


def test_an_older_short_code_stays_valid_until_it_is_replaced(
    client: FlaskClient, organiser: LoggedIn, switch: Switch
) -> None:
    switch(registration="code", event_code="Zion")
    assert organiser.administer("PUT", "/switches", read_only=True).status_code == 200
    assert organiser.administer("PUT", "/switches", read_only=False).status_code == 200
    assert client.post("/api/v1/auth/register", json=NEO | {"code": "Zion"}).status_code == 201
    assert organiser.administer("PUT", "/switches", registration="closed").status_code == 200
    assert organiser.administer("PUT", "/switches", registration="code").status_code == 400


@pytest.mark.parametrize("code", [None, "Sprawl", ""])
def test_a_code_is_ignored_while_registration_is_open(client: FlaskClient, code: str | None) -> None:
    assert client.post("/api/v1/auth/register", json=NEO | {"code": code}).status_code == 201


@pytest.mark.parametrize("broken", ["registration = 'maybe'", "registration = 'code'", "one = false"])
def test_the_database_rejects_inconsistent_switches(owner: Engine, fresh: UpgradeSettings, broken: str) -> None:
    del fresh
    with pytest.raises(IntegrityError), owner.begin() as connection:
        connection.execute(text(f"UPDATE switches SET {broken}"))  # noqa: S608
