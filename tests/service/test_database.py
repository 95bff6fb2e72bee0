"""One pool, two views: single statements that each commit, and transactions; turning from one to the other is free."""

from collections.abc import Iterator

import pytest
from sqlalchemy import Connection, Engine, text
from sqlalchemy.exc import DBAPIError

from neobank.database import connect, transactional
from tests.service.support import Database, end_backend

COUNT = text(
    "INSERT INTO rate_limit_counters (key_hash, hits, ends_at) VALUES ('\\x00', 1, now()) ON CONFLICT DO NOTHING"
)
COUNTED = text("SELECT count(*) FROM rate_limit_counters")
SENT = text("SELECT query FROM pg_stat_activity WHERE pid = :process")

pytestmark = pytest.mark.usefixtures("fresh")


@pytest.fixture
def single(database: Database, owner: Engine) -> Iterator[Engine]:
    engine = connect(database.url("application"), single_statements=True)
    with owner.begin() as connection:
        connection.execute(text("TRUNCATE rate_limit_counters"))
    yield engine
    engine.dispose()


def process(connection: Connection) -> int:
    found: int = connection.connection.driver_connection.info.backend_pid  # type: ignore[union-attr]
    return found


def counted(owner: Engine) -> int:
    with owner.connect() as connection:
        found: int = connection.execute(COUNTED).scalar_one()
    return found


def test_a_statement_commits_and_a_transaction_can_be_undone_in_any_order(single: Engine, owner: Engine) -> None:
    transactions = transactional(single)
    for _ in range(2):
        with transactions.connect() as connection, connection.begin() as under_way:
            connection.execute(COUNT)
            under_way.rollback()
        assert counted(owner) == 0
    with single.connect() as connection:
        connection.execute(COUNT)
        assert counted(owner) == 1
    with transactions.begin() as connection:
        connection.execute(text("DELETE FROM rate_limit_counters"))
    assert counted(owner) == 0


def test_a_statement_commits_on_the_connection_that_replaces_a_dead_one(
    single: Engine, engine: Engine, owner: Engine
) -> None:
    with single.connect() as connection:
        end_backend(engine, connection)
        with pytest.raises(DBAPIError):
            connection.execute(COUNTED)
        connection.rollback()
        connection.execute(COUNT)
        assert counted(owner) == 1


def test_turning_from_statements_to_transactions_and_back_sends_nothing(single: Engine, engine: Engine) -> None:
    transactions = transactional(single)
    for view in (single, transactions, single, transactions):
        with view.connect() as connection:
            mine = process(connection)
            with connection.begin():
                connection.execute(text("SELECT 'the last that was sent'"))
                with engine.connect() as other:
                    assert other.execute(SENT, {"process": mine}).scalar_one() == "SELECT 'the last that was sent'"
        with engine.connect() as other:
            before = other.execute(SENT, {"process": mine}).scalar_one()
        with transactions.connect() as connection:
            connection.begin()
            with engine.connect() as other:
                assert other.execute(SENT, {"process": mine}).scalar_one() == before
