"""The shared counters as a storage of the `limits` library, which Flask-Limiter counts through.

One statement a call, each a transaction of its own on the serving process's pool: never inside the money's.
"""

import time

from flask import g
from limits.storage import Storage
from sqlalchemy import text
from sqlalchemy.exc import SQLAlchemyError

from neobank import counters
from neobank.web.bank import current_bank


class CounterStorage(Storage):
    """Counters for the fixed-window strategy; they are reached as `neobank://`, in an application's context."""

    STORAGE_SCHEME = ["neobank"]  # noqa: RUF012  # the signature is the library's

    @property
    def base_exceptions(self) -> type[Exception]:
        """What a failing storage raises; it is not wrapped, so that the application answers it as any outage."""
        return SQLAlchemyError

    def incr(self, key: str, expiry: int, amount: int = 1) -> int:
        """Count, in a window of `expiry` seconds if none is open, and give the count."""
        window = current_bank().retry_once(
            lambda connection: counters.count(connection, key, seconds=expiry, hits=amount)
        )
        g.counted_window = window
        return window.hits

    def get(self, key: str) -> int:
        """Give the count of the open window, 0 where there is none."""
        window = self._find(key)
        return window.hits if window else 0

    def get_expiry(self, key: str) -> float:
        """Give the end of the open window in seconds since 1970, or the present where there is none."""
        window = self._find(key)
        return window.ends_at.timestamp() if window else time.time()

    def check(self) -> bool:
        """Tell whether the database answers."""
        try:
            with current_bank().statement() as connection:
                connection.execute(text("SELECT 1"))
        except SQLAlchemyError:
            return False
        return True

    def reset(self) -> int:
        """Forget every counter; gives how many there were."""
        with current_bank().statement() as connection:
            return counters.forget_all(connection)

    def clear(self, key: str) -> None:
        """Forget one counter."""
        with current_bank().statement() as connection:
            counters.forget(connection, key)

    def _find(self, key: str) -> counters.Window | None:
        with current_bank().statement() as connection:
            return counters.find(connection, key)


def counted_window() -> counters.Window:
    """Give the window of this request's last count, so that a refusal need not ask again."""
    window: counters.Window = g.counted_window
    return window
