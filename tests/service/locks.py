"""Rows that a test locks, and sessions that wait for them."""

import time
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from typing import Any

from sqlalchemy import Engine, text

from tests.service.serving import PATIENCE

_LOCK_BALANCE = text(
    "SELECT FROM balances JOIN accounts ON accounts.id = account_id WHERE number = :number FOR UPDATE OF balances"
)
_WAITING = text("SELECT count(DISTINCT pid) FROM pg_locks WHERE NOT granted")


@contextmanager
def locked_balance(owner: Engine, number: str) -> Iterator[None]:
    """Lock the balance of an account until the end of the block."""
    with owner.begin() as connection:
        connection.execute(_LOCK_BALANCE, {"number": number})
        yield


def await_waiting(engine: Engine, count: int, *running: Future[Any]) -> None:
    """Wait until `count` sessions wait for a lock, or one of the running calls has ended."""
    deadline = time.monotonic() + PATIENCE
    while not any(future.done() for future in running):
        with engine.connect() as connection:
            if connection.execute(_WAITING).scalar_one() >= count:
                return
        assert time.monotonic() < deadline, f"fewer than {count} sessions wait for a lock"
        time.sleep(0.01)
