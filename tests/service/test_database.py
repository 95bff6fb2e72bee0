"""One connection pool serves autocommit statements and transactions; switching between them sends nothing."""

from collections.abc import Iterator

import pytest
from sqlalchemy import Engine, text
from sqlalchemy.exc import DBAPIError

from neobank.database import connect, transaction
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
