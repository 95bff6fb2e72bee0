"""Rows that a test locks, and connections of the service that wait for them."""

import time
from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy import Engine, text

from tests.service.serving import PATIENCE

WAITING = text("SELECT count(*) FROM pg_stat_activity WHERE application_name = 'neobank' AND wait_event_type = 'Lock'")


@contextmanager
def locked_balance(owner: Engine, number: str) -> Iterator[None]:
    """Lock the balance of an account until the end of the block."""
    with owner.begin() as connection:
        connection.execute(
            text(
                "SELECT FROM balances JOIN accounts ON accounts.id = account_id WHERE number = :number"
                " FOR UPDATE OF balances"
            ),
            {"number": number},
        )
        yield


def await_waiting(engine: Engine, count: int) -> None:
    """Wait until so many of the service's connections wait for a lock, as its role sees them."""
    deadline = time.monotonic() + PATIENCE
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        while connection.execute(WAITING).scalar_one() < count:
            assert time.monotonic() < deadline, "the requests do not wait for the lock"
            time.sleep(0.02)
