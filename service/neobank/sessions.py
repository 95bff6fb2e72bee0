"""Sessions: the table of log-ins, and every query on it.

A token is opaque and random; only its keyed hash is stored. Ending a session takes effect on every pod at once.
"""

import hashlib
import hmac
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from sqlalchemy import (
    BigInteger,
    Connection,
    DateTime,
    ForeignKey,
    Identity,
    LargeBinary,
    Text,
    bindparam,
    delete,
    func,
    insert,
    select,
)
from sqlalchemy.exc import OperationalError
from sqlalchemy.orm import Mapped, mapped_column

from neobank.database import Base, disk_is_full

LIFETIME: Final = timedelta(days=7)
SEEN: Final = timedelta(minutes=1)
"""The precision of `last_seen_at`: a request updates it only if it is older than this."""

NEVER: Final = 2 * LIFETIME
"""An age that no session reaches, so that `last_seen_at` is not updated."""

MAX_LISTED: Final = 100


class Session(Base):
    """A log-in, valid until it is ended or expires."""

    __tablename__ = "sessions"

    id: Mapped[int] = mapped_column(BigInteger, Identity(always=True), primary_key=True)
    token_hash: Mapped[bytes] = mapped_column(LargeBinary, unique=True)
    account_id: Mapped[int] = mapped_column(BigInteger, ForeignKey("players.account_id"), index=True)
    created_at: Mapped[datetime] = mapped_column(DateTime(timezone=True), server_default=func.now())
    expires_at: Mapped[datetime] = mapped_column(DateTime(timezone=True))
    device: Mapped[str | None] = mapped_column(Text)
    last_seen_at: Mapped[datetime] = mapped_column(DateTime(timezone=True), server_default=func.now(), index=True)


@dataclass(frozen=True, slots=True)
class Caller:
    """The authenticated player of a request, and their session."""

    account_id: int
    account_number: str
    character_name: str
    session_id: int
    is_admin: bool
    must_change_password: bool


@dataclass(frozen=True, slots=True)
class OpenSession:
    """A session as its player sees it."""

    id: int
    device: str | None
    started_at: datetime
    last_seen_at: datetime


_FIND_CALLER: Final = select(
    func.find_caller(bindparam("token_hash"), bindparam("seen")).table_valued(
        *("account_id", "account_number", "character_name", "session_id", "is_admin", "must_change_password"),
    )
)


def begin(connection: Connection, account_id: int, *, secret_key: bytes, device: str | None) -> str:
    """Begin a player's session and return its token. Only a hash of it, keyed with `secret_key`, is stored."""
    token = secrets.token_urlsafe(32)
    values = {"token_hash": _hash(token, secret_key), "account_id": account_id, "device": device}
    connection.execute(insert(Session).values(values | {"expires_at": func.now() + LIFETIME}))
    return token


def find_caller(connection: Connection, token: str, *, secret_key: bytes) -> Caller | None:
    """Return the player whose open session has this token, or None, and update the session's `last_seen_at`.

    On a full disk `last_seen_at` stays, so that players can still read. The connection must be in autocommit mode.
    """
    values = {"token_hash": _hash(token, secret_key), "seen": SEEN}
    try:
        row = connection.execute(_FIND_CALLER, values).one()  # all NULL if no open session has the token
    except OperationalError as error:
        if not disk_is_full(error):
            raise
        row = connection.execute(_FIND_CALLER, values | {"seen": NEVER}).one()
    return None if row.session_id is None else Caller(*row)


def open_sessions(connection: Connection, account_id: int) -> Sequence[OpenSession]:
    """Return a player's open sessions, newest first, at most MAX_LISTED."""
    statement = (
        select(Session.id, Session.device, Session.created_at, Session.last_seen_at)
        .where(Session.account_id == account_id, Session.expires_at > func.now())
        .order_by(Session.id.desc())
        .limit(MAX_LISTED)
    )
    return [OpenSession(*row) for row in connection.execute(statement)]


def end(connection: Connection, account_id: int, session_id: int) -> bool:
    """End a session if it is the player's, and return whether it was."""
    ended = delete(Session).where(Session.id == session_id, Session.account_id == account_id)
    return connection.execute(ended).rowcount > 0


def end_others(connection: Connection, kept: Caller) -> None:
    """End every session of a player except the caller's own."""
    connection.execute(delete(Session).where(Session.account_id == kept.account_id, Session.id != kept.session_id))


def end_all(connection: Connection, account_id: int) -> int:
    """End every session of a player, and return their number."""
    return connection.execute(delete(Session).where(Session.account_id == account_id)).rowcount


def forget_ended(connection: Connection) -> int:
    """Delete the expired sessions, and return their number."""
    return connection.execute(delete(Session).where(Session.expires_at < func.now())).rowcount


def _hash(token: str, secret_key: bytes) -> bytes:
    return hmac.digest(secret_key, token.encode(), hashlib.sha256)
