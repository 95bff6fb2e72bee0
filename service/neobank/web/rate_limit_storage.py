"""The shared counters as a storage of the `limits` library, which Flask-Limiter uses.

Each method runs one statement as its own transaction on the serving process's pool, never in a transaction that moves
money.
"""

import time

from flask import g
from limits.storage import Storage
from sqlalchemy import text
from sqlalchemy.exc import SQLAlchemyError

from neobank import counters
from neobank.web.bank import current_bank


class CounterStorage(Storage):
    """Counters for the fixed-window strategy, with the storage URI `neobank://`; they need an application context."""

    STORAGE_SCHEME = ["neobank"]  # noqa: RUF012  # the signature is the library's

    @property
    def base_exceptions(self) -> type[Exception]:
        """The exception of a failing storage; it is not wrapped, so that the application handles it as any outage."""
        return SQLAlchemyError

    def incr(self, key: str, expiry: int, amount: int = 1) -> int:
        """Add to a counter and return its value; if no window is open, open one of `expiry` seconds."""
        window = current_bank().retry_once(
            lambda connection: counters.count(connection, key, seconds=expiry, hits=amount)
        )
        g.counted_window = window
        return window.hits

    def get(self, key: str) -> int:
        """Return the count of the open window, or 0 if none is open."""
        window = self._find(key)
        return window.hits if window else 0

    def get_expiry(self, key: str) -> float:
        """Return the end of the open window as a Unix time in seconds, or the current time if none is open."""
        window = self._find(key)
        return window.ends_at.timestamp() if window else time.time()

    def check(self) -> bool:
        """Return whether the database answers."""
        try:
            with current_bank().statement() as connection:
                connection.execute(text("SELECT 1"))
        except SQLAlchemyError:
            return False
        return True

    def reset(self) -> int:
        """Delete every counter, and return their number."""
        with current_bank().statement() as connection:
            return counters.forget_all(connection)

    def clear(self, key: str) -> None:
        """Delete one counter."""
        with current_bank().statement() as connection:
            counters.forget(connection, key)

    def _find(self, key: str) -> counters.Window | None:
        with current_bank().statement() as connection:
            return counters.find(connection, key)


def counted_window() -> counters.Window:
    """Return the window of this request's last count, so that a 429 needs no second query."""
    window: counters.Window = g.counted_window
    return window
