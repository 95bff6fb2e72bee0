"""A real PostgreSQL server, the schema that the migrations create, and the application.

NEOBANK_TEST_DATABASE_URL makes the tests use another server: it is the URL of the superuser `postgres`. It must be
empty.
"""

import os
from collections.abc import Iterator
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from flask import Flask
from flask.testing import FlaskClient
from sqlalchemy import Engine, make_url, text

from neobank import migrations
from neobank.application import create_app
from neobank.casino.verification import verify_rounds
from neobank.database import connect
from neobank.ledger.verification import verify
from neobank.settings import ServingSettings, UpgradeSettings
from tests.service.serving import Served, gunicorn
from tests.service.support import (
    ADMINISTRATOR,
    BANKROLL,
    OPENING_BALANCE,
    SECRET_KEY,
    Books,
    Database,
    Join,
    LoggedIn,
    NewTerminal,
    Terminal,
    given_database,
    log_in,
)
from tools.postgres import LOGINS, Postgres


@pytest.fixture(scope="session")
def database(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Database]:
    home = tmp_path_factory.mktemp("postgres")
    if given := os.environ.get("NEOBANK_TEST_DATABASE_URL"):
        yield given_database(make_url(given), home)
        return
    server = Postgres.embedded(home)
    server.start()
    try:
        yield Database({role: make_url(server.url(role)) for role in LOGINS}, server)
    finally:
        server.stop()


@pytest.fixture(scope="session")
def upgraded(database: Database) -> UpgradeSettings:
    settings = UpgradeSettings(database.url("owner"), BANKROLL, OPENING_BALANCE, ADMINISTRATOR)
    migrations.upgrade(settings)
    return settings


@pytest.fixture(scope="session")
def owner(database: Database, upgraded: UpgradeSettings) -> Iterator[Engine]:
    del upgraded
    engine = connect(database.url("owner"), connections=4)
    yield engine
    engine.dispose()


@pytest.fixture(scope="session")
def engine(database: Database, upgraded: UpgradeSettings) -> Iterator[Engine]:
    """Connections of the serving role."""
    del upgraded
    engine = connect(database.url("application"), connections=32)
    yield engine
    engine.dispose()


def empty_bank(owner: Engine, upgraded: UpgradeSettings) -> UpgradeSettings:
    """Return the bank to its first upgrade, with the house and the administrator as the only accounts."""
    with owner.begin() as connection:
        connection.execute(
            text(
                "TRUNCATE transfers, reversals, charges, api_keys, audit_logs, sessions, idempotency_records,"
                " provisioned_administrators, pictures, players, rounds, free_spins, casino_players, seeds,"
                " dial_versions, games"
            )
        )
        connection.execute(
            text("DELETE FROM factions WHERE name NOT IN ('CorpSec', 'Runners', 'Syndicate', 'Technocrats')")
        )
        connection.execute(text("DELETE FROM balances WHERE account_id < 9000000000000000001"))
        connection.execute(text("DELETE FROM accounts WHERE id < 9000000000000000001"))
        connection.execute(text("UPDATE balances SET balance = 0"))
        connection.execute(text("UPDATE switches SET read_only = false, registration = 'open', event_code = NULL"))
    migrations.upgrade(upgraded)
    return upgraded


@pytest.fixture
def fresh(owner: Engine, upgraded: UpgradeSettings) -> UpgradeSettings:
    """An empty bank for each test."""
    return empty_bank(owner, upgraded)


@pytest.fixture(scope="module")
def fresh_for_all(owner: Engine, upgraded: UpgradeSettings) -> UpgradeSettings:
    """An empty bank for all tests of a module together."""
    return empty_bank(owner, upgraded)


@pytest.fixture
def settings(database: Database) -> ServingSettings:
    return ServingSettings(
        database_url=database.url("application"),
        secret_key=SECRET_KEY,
        host="127.0.0.1",
        port=5000,
        workers=1,
        threads=4,
        connections=4,
        log_level="info",
        rate_limits={},
        trusted_proxies=0,
        cors_origins=frozenset(),
        casino_time_zone=ZoneInfo("UTC"),
    )


@pytest.fixture
def app(settings: ServingSettings, fresh: UpgradeSettings) -> Flask:
    del fresh
    return create_app(settings)


@pytest.fixture
def client(app: Flask) -> FlaskClient:
    return app.test_client()


@pytest.fixture
def player(client: FlaskClient) -> Join:
    """Register players and log them in."""

    def join(name: str) -> LoggedIn:
        who = {"character_name": name, "password": "password of " + name}
        registered = client.post("/api/v1/auth/register", json=who)
        assert registered.status_code == 201, registered.text
        return log_in(client, name, who["password"])

    return join


@pytest.fixture
def organiser(client: FlaskClient) -> LoggedIn:
    return log_in(client, ADMINISTRATOR.name, ADMINISTRATOR.password)


@pytest.fixture
def terminal(client: FlaskClient, organiser: LoggedIn) -> NewTerminal:
    """Create API keys as an organiser."""

    def make(**fields: object) -> Terminal:
        made = organiser.administer("POST", "/api-keys", **{"description": "bar"} | fields)
        assert made.status_code == 201, made.text
        return Terminal(client, made.get_json()["key"], made.get_json()["api_key"]["id"])

    return make


@pytest.fixture
def books(engine: Engine) -> Iterator[Books]:
    """Assert that the books are sound, on each call and at the end of the test."""

    def check() -> None:
        with engine.connect().execution_options(isolation_level="REPEATABLE READ") as connection, connection.begin():
            verdict = verify(connection)
        assert verdict.sound, verdict

    yield check
    check()


@pytest.fixture
def fair(engine: Engine, fresh: UpgradeSettings, books: Books) -> Iterator[None]:
    """Assert at the end of a test that all its rounds and the books are sound."""
    del fresh, books
    yield
    with engine.connect() as connection:
        assert verify_rounds(connection).problems == []


@pytest.fixture
def neo(player: Join) -> LoggedIn:
    return player("Neo")


@pytest.fixture
def bar(player: Join) -> LoggedIn:
    """A player whose account receives a vendor's payments."""
    return player("Bar")


@pytest.fixture
def till(terminal: NewTerminal, bar: LoggedIn) -> Terminal:
    """A terminal of the bar that may only request payments."""
    return terminal(account=bar.number)


@pytest.fixture
def served(database: Database, fresh: UpgradeSettings, tmp_path: Path) -> Iterator[Served]:
    """The service behind gunicorn."""
    del fresh
    with gunicorn(database.url("application"), tmp_path / "gunicorn.log") as running:
        yield running
