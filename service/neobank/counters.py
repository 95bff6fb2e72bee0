"""Counters with fixed windows, shared by all workers and pods.

The first count of a key opens a window; the first count after its end opens the next one. So a counter is one row, a
count is one statement under any concurrency, and the end of the window is the exact time at which a client may retry.
The disadvantage: around the end of a window, up to twice the limit can pass within the length of one window.

The table is UNLOGGED: a count does not wait for the disk, and a crash of PostgreSQL deletes all counters. A key is
stored as its hash, so that a key of any length fits the index, and the table contains no name or address.
"""

import hashlib
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import BigInteger, Connection, DateTime, LargeBinary, delete, func, select, text
from sqlalchemy.orm import Mapped, mapped_column

from neobank.database import Base


class Counter(Base):
    """The number of hits of a key in its current window."""

    __tablename__ = "rate_limit_counters"
    __table_args__ = ({"prefixes": ["UNLOGGED"], "postgresql_with": {"fillfactor": "50"}},)

    key_hash: Mapped[bytes] = mapped_column(LargeBinary, primary_key=True)
    hits: Mapped[int] = mapped_column(BigInteger)
    ends_at: Mapped[datetime] = mapped_column(DateTime(timezone=True))


@dataclass(frozen=True, slots=True)
class Window:
    """An open window: its hits, its end and the time of the query, by the database's clock, which all pods share."""

    hits: int
    ends_at: datetime
    now: datetime

    @property
    def seconds_left(self) -> float:
        """The time until the next window can begin."""
        return (self.ends_at - self.now).total_seconds()


_COUNT = text("""
    INSERT INTO rate_limit_counters AS stored (key_hash, hits, ends_at)
    VALUES (:key_hash, :hits, statement_timestamp() + :seconds * interval '1 second')
    ON CONFLICT (key_hash) DO UPDATE SET
        hits = CASE WHEN stored.ends_at > statement_timestamp() THEN stored.hits ELSE 0 END + excluded.hits,
        ends_at = CASE WHEN stored.ends_at > statement_timestamp() THEN stored.ends_at ELSE excluded.ends_at END
    RETURNING hits, ends_at, statement_timestamp()
""")


def count(connection: Connection, key: str, *, seconds: int, hits: int = 1) -> Window:
    """Add hits to a key and return its window; if none is open, open one of `seconds`.

    The connection must be in autocommit mode.
    """
    row = connection.execute(_COUNT, {"key_hash": _hash(key), "hits": hits, "seconds": seconds}).one()
    return Window(row[0], row[1], row[2])


def find(connection: Connection, key: str) -> Window | None:
    """Return a key's open window, or None; count nothing."""
    now = func.statement_timestamp()
    statement = select(Counter.hits, Counter.ends_at, now).where(Counter.key_hash == _hash(key), Counter.ends_at > now)
    row = connection.execute(statement).one_or_none()
    return None if row is None else Window(row[0], row[1], row[2])


def forget(connection: Connection, key: str) -> None:
    """Delete a key's counter, so that its next count opens a window."""
    connection.execute(delete(Counter).where(Counter.key_hash == _hash(key)))


def forget_all(connection: Connection) -> int:
    """Delete all counters, and return their number."""
    return connection.execute(delete(Counter)).rowcount


def clear_ended(connection: Connection) -> int:
    """Delete the counters whose window is over (nothing reads them), and return their number."""
    return connection.execute(delete(Counter).where(Counter.ends_at <= func.statement_timestamp())).rowcount


def _hash(key: str) -> bytes:
    return hashlib.sha256(key.encode()).digest()
