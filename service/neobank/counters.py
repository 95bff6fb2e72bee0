"""Counters that every worker and pod shares: how often something was done in its current window.

A window is fixed: the first count opens it, and the first count after its end opens another. So a counter is one row, a
count is one statement whatever runs at once, and the moment from which one may try again is known exactly. The price:
around the end of a window, up to twice the limit may fall within a window's length.

The table is UNLOGGED: no count waits for a disk, and a crash of PostgreSQL forgets them all. A key is kept as its hash:
whatever a client sent as a name, it fits the index, and nobody's name or address is kept.
"""

import hashlib
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import BigInteger, Connection, DateTime, LargeBinary, delete, func, select, text
from sqlalchemy.orm import Mapped, mapped_column

from neobank.database import Base


class Counter(Base):
    """What was counted for a key, until its window ends."""

    __tablename__ = "rate_limit_counters"
    __table_args__ = ({"prefixes": ["UNLOGGED"], "postgresql_with": {"fillfactor": "50"}},)

    key_hash: Mapped[bytes] = mapped_column(LargeBinary, primary_key=True)
    hits: Mapped[int] = mapped_column(BigInteger)
    ends_at: Mapped[datetime] = mapped_column(DateTime(timezone=True))


@dataclass(frozen=True, slots=True)
class Window:
    """How often so far, until when, and what time it was: by the database's clock, the one that all pods share."""

    hits: int
    ends_at: datetime
    now: datetime

    @property
    def seconds_left(self) -> float:
        """How long until the next window may begin."""
        return (self.ends_at - self.now).total_seconds()


_COUNT = text("""
    INSERT INTO rate_limit_counters AS kept (key_hash, hits, ends_at)
    VALUES (:key_hash, :hits, statement_timestamp() + :seconds * interval '1 second')
    ON CONFLICT (key_hash) DO UPDATE SET
        hits = CASE WHEN kept.ends_at > statement_timestamp() THEN kept.hits ELSE 0 END + excluded.hits,
        ends_at = CASE WHEN kept.ends_at > statement_timestamp() THEN kept.ends_at ELSE excluded.ends_at END
    RETURNING hits, ends_at, statement_timestamp()
""")


def count(connection: Connection, key: str, *, seconds: int, hits: int = 1) -> Window:
    """Add to a key's counter, in a window of so many seconds if none is open; the connection commits each statement."""
    row = connection.execute(_COUNT, {"key_hash": _hash(key), "hits": hits, "seconds": seconds}).one()
    return Window(row[0], row[1], row[2])


def find(connection: Connection, key: str) -> Window | None:
    """Look at a key's open window without counting."""
    now = func.statement_timestamp()
    statement = select(Counter.hits, Counter.ends_at, now).where(Counter.key_hash == _hash(key), Counter.ends_at > now)
    row = connection.execute(statement).one_or_none()
    return None if row is None else Window(row[0], row[1], row[2])


def forget(connection: Connection, key: str) -> None:
    """End a key's window now."""
    connection.execute(delete(Counter).where(Counter.key_hash == _hash(key)))


def forget_all(connection: Connection) -> int:
    """End every window now; gives how many counters there were."""
    return connection.execute(delete(Counter)).rowcount


def clear_ended(connection: Connection) -> int:
    """Delete the counters whose window is over, which nothing reads any more; gives how many they were."""
    return connection.execute(delete(Counter).where(Counter.ends_at <= func.statement_timestamp())).rowcount


def _hash(key: str) -> bytes:
    return hashlib.sha256(key.encode()).digest()
