"""One connection pool serves autocommit statements and transactions; switching between them sends nothing."""

import socket
from collections.abc import Iterator
from contextlib import closing

import pytest
from psycopg2 import extensions
from sqlalchemy import Engine, text
from sqlalchemy.exc import DBAPIError, OperationalError

from neobank import database as connections
from neobank.database import connect, transaction, wait_for_answer
from tests.service.support import Database, backend_pid, end_backend

COUNT = text(
    "INSERT INTO rate_limit_counters (key_hash, hits, ends_at) VALUES ('\\x00', 1, now()) ON CONFLICT DO NOTHING"
)
COUNTED = text("SELECT count(*) FROM rate_limit_counters")
LAST = text("SELECT 'the last statement'")
SENT = text("SELECT query FROM pg_stat_activity WHERE pid = :process")

pytestmark = pytest.mark.usefixtures("fresh")


@pytest.fixture
def single(database: Database, owner: Engine) -> Iterator[Engine]:
    engine = connect(database.url("application"), single_statements=True)
    with owner.begin() as connection:
        connection.execute(text("TRUNCATE rate_limit_counters"))
    yield engine
    engine.dispose()


def counted(owner: Engine) -> int:
    with owner.connect() as connection:
        found: int = connection.execute(COUNTED).scalar_one()
    return found


def count_and_fail(single: Engine) -> None:
    with single.connect() as connection, transaction(connection):
        connection.execute(COUNT)
        connection.execute(text("SELECT 1 / 0"))


def last_sent(engine: Engine, process: int) -> str:
    with engine.connect() as other:
        found: str = other.execute(SENT, {"process": process}).scalar_one()
    return found


def test_statements_commit_and_transactions_roll_back_in_any_order(single: Engine, owner: Engine) -> None:
    for _ in range(2):
        with pytest.raises(DBAPIError, match="division by zero"):
            count_and_fail(single)
        assert counted(owner) == 0
    with single.connect() as connection:
        connection.execute(COUNT)
        assert counted(owner) == 1
    with single.connect() as connection, transaction(connection):
        connection.execute(text("DELETE FROM rate_limit_counters"))
    assert counted(owner) == 0


def test_a_statement_commits_on_the_connection_that_replaces_an_ended_one(
    single: Engine, engine: Engine, owner: Engine
) -> None:
    with single.connect() as connection:
        end_backend(engine, connection)
        with pytest.raises(DBAPIError):
            connection.execute(COUNTED)
        connection.rollback()
        connection.execute(COUNT)
        assert counted(owner) == 1


def test_switching_between_statements_and_transactions_sends_nothing(single: Engine, engine: Engine) -> None:
    with single.connect() as connection:
        mine = backend_pid(connection)
        connection.execute(LAST)
    with single.connect() as connection, transaction(connection):
        assert last_sent(engine, mine) == str(LAST)
        connection.execute(text("SELECT 1"))
    assert last_sent(engine, mine) == "COMMIT"
    with single.connect() as connection:
        assert last_sent(engine, mine) == "COMMIT"
        connection.execute(LAST)
        assert last_sent(engine, mine) == str(LAST)


@pytest.fixture
def waiting() -> Iterator[None]:
    """Let psycopg2 wait as it does in a serving process."""
    extensions.set_wait_callback(wait_for_answer)
    yield
    extensions.set_wait_callback(None)


@pytest.mark.usefixtures("waiting")
def test_a_server_that_accepts_but_never_answers_fails_a_new_connection(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connections, "CONNECT_WAIT", 0.5)
    with closing(socket.create_server(("127.0.0.1", 0))) as silent:
        engine = connect(database.url("application").set(host="127.0.0.1", port=silent.getsockname()[1]))
        with pytest.raises(OperationalError, match=r"did not answer within 0\.5 seconds"):
            engine.connect()


@pytest.mark.usefixtures("waiting")
def test_a_statement_may_take_longer_than_a_new_connection(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "CONNECT_WAIT", 0.5)
    with engine.connect() as connection:
        assert connection.execute(text("SELECT 'late' FROM pg_sleep(1)")).scalar_one() == "late"
