"""After a database restart all pooled connections are closed. No client gets an error, and no payment is repeated."""

from collections.abc import Callable, Iterator
from dataclasses import replace

import pytest
from flask import Flask
from flask.testing import FlaskClient
from sqlalchemy import Connection, Engine, text
from werkzeug.test import TestResponse

from neobank import migrations
from neobank.application import create_app
from neobank.settings import RATES, ServingSettings
from tests.service.statements import Statement, before_each, listening, recorded
from tests.service.support import Books, Database, Join, LoggedIn, NewTerminal, bank_of, end_backend


@pytest.fixture
def worker(settings: ServingSettings, fresh: object) -> Iterator[Flask]:
    """An application with rate limits and two connections in its pool."""
    del fresh
    made = create_app(replace(settings, connections=2, rate_limits=RATES))
    engine = pool(made)
    with engine.connect(), engine.connect():
        pass
    yield made
    engine.dispose()


def pool(app: Flask) -> Engine:
    return bank_of(app).engine


@pytest.fixture
def restart(database: Database, engine: Engine, owner: Engine, app: Flask) -> Callable[[], None]:
    if database.embedded is None:
        pytest.skip("NEOBANK_TEST_DATABASE_URL names a server that the tests may not stop")
    server = database.embedded

    def stop_and_start() -> None:
        server.stop()
        server.start()
        for ours in (engine, owner, pool(app)):
            ours.dispose()

    return stop_and_start


def requests(client: FlaskClient, neo: LoggedIn, trinity: LoggedIn, key: str) -> dict[str, Callable[[], TestResponse]]:
    who = {"character_name": "Morpheus", "password": "white rabbit"}
    pay = {"to_account": trinity.number, "amount": 1}
    charge = {"amount": 1}
    return {
        "the account": lambda: client.get("/api/v1/account", headers=neo.headers),
        "a payment": lambda: client.post("/api/v1/transactions", json=pay, headers=neo.headers),
        "a charge": lambda: client.post("/api/v1/external/charges", json=charge, headers={"X-API-Key": key}),
        "a registration": lambda: client.post("/api/v1/auth/register", json=who),
        "a login": lambda: client.post("/api/v1/auth/login", json=who),
        "the status": lambda: client.get("/api/v1/status"),
        "readiness": lambda: client.get("/health/ready"),
    }


def test_the_first_request_of_any_kind_after_a_restart_succeeds(
    worker: Flask, restart: Callable[[], None], player: Join, terminal: NewTerminal
) -> None:
    neo, trinity, key = player("Neo"), player("Trinity"), terminal(scope="pay").key
    for name, send in requests(worker.test_client(), neo, trinity, key).items():
        with pool(worker).connect(), pool(worker).connect():
            pass  # opens both connections before the restart
        restart()
        answer = send()
        assert answer.status_code in {200, 201}, f"{name}: {answer.text}"
    assert worker.test_client().get("/api/v1/account", headers=neo.headers).get_json()["account"]["balance"] == 999


def test_a_payment_whose_connection_ends_is_not_repeated(
    worker: Flask, player: Join, engine: Engine, books: Books
) -> None:
    neo, trinity = player("Neo"), player("Trinity")

    def cut(statement: Statement) -> None:
        if "post_payment" in statement.text:
            end_backend(engine, statement.connection)

    pay = {"to_account": trinity.number, "amount": 1}
    with before_each(pool(worker), cut), recorded(pool(worker)) as sent:
        answer = worker.test_client().post("/api/v1/transactions", json=pay, headers=neo.headers)
    assert (answer.status_code, answer.content_type) == (503, "application/problem+json")
    assert sum("post_payment" in statement.text for statement in sent) == 1
    account = worker.test_client().get("/api/v1/account", headers=neo.headers)
    assert (account.status_code, account.get_json()["account"]["balance"]) == (200, 1000)
    books()


def test_a_connection_that_ends_just_before_its_transaction_gets_a_503(
    worker: Flask, player: Join, engine: Engine
) -> None:
    """Only the driver notices, when autocommit is switched off, so SQLAlchemy does not wrap the exception."""
    neo, trinity = player("Neo"), player("Trinity")
    pay = {"to_account": trinity.number, "amount": 1}
    once = {**neo.headers, "Idempotency-Key": "once"}

    def cut(connection: Connection) -> None:
        if not connection.connection.driver_connection.autocommit:  # type: ignore[union-attr]
            end_backend(engine, connection)

    with listening(pool(worker), "begin", cut):
        answer = worker.test_client().post("/api/v1/transactions", json=pay, headers=once)
    assert (answer.status_code, answer.headers["Retry-After"]) == (503, "2")
    assert worker.test_client().post("/api/v1/transactions", json=pay, headers=once).status_code == 201


def test_a_read_is_repeated_once_while_the_database_is_unreachable(worker: Flask, player: Join, engine: Engine) -> None:
    neo = player("Neo")

    def cut(statement: Statement) -> None:
        end_backend(engine, statement.connection)

    with before_each(pool(worker), cut), recorded(pool(worker)) as sent:
        answer = worker.test_client().get("/api/v1/account", headers=neo.headers)
    assert answer.status_code == 503
    assert len(sent) == 2


@pytest.mark.parametrize(("revision", "status"), [("0001", 503), ("9999", 200)])
def test_a_schema_before_that_of_this_version_is_not_ready(
    worker: Flask, owner: Engine, revision: str, status: int
) -> None:
    """A newer schema is: during a roll-out the version before still serves."""
    with owner.begin() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = :it"), {"it": revision})
    try:
        answer = worker.test_client().get("/health/ready")
    finally:
        with owner.begin() as connection:
            connection.execute(text("UPDATE alembic_version SET version_num = :it"), {"it": migrations.head()})
    assert answer.status_code == status
    assert (revision in answer.text) is (status == 503)
