"""Who is asking: opaque bearer tokens, kept as keyed hashes, which end on every pod at once.

A token that a one-time password gave opens nothing but the change of that password.
"""

import hashlib
import hmac
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from http import HTTPStatus
from typing import Final

from apiflask import HTTPTokenAuth
from flask import Response, request
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
from sqlalchemy.orm import Mapped, mapped_column

from neobank.database import Base
from neobank.errors import Forbidden
from neobank.monitoring.requests import note_account
from neobank.players.models import Player
from neobank.web.bank import current_bank
from neobank.web.errors import problem

LIFETIME: Final = timedelta(days=7)
SEEN: Final = timedelta(minutes=1)
"""How old `last_seen_at` may get: a request after that writes it, one within it does not."""

MAX_DEVICE: Final = 200
MAX_LISTED: Final = 100
ORGANISER: Final = "organiser"
"""The role that `auth_required(bearer, roles=[ORGANISER])` asks for; others are answered 403."""

CHANGES_PASSWORD: Final = "account.put_password"  # noqa: S105  # an endpoint
"""The one endpoint that a one-time password opens."""


class Session(Base):
    """A log-in that lasts until it is ended or its time is up."""

    __tablename__ = "sessions"

    id: Mapped[int] = mapped_column(BigInteger, Identity(always=True), primary_key=True)
    token_hash: Mapped[bytes] = mapped_column(LargeBinary, unique=True)
    account_id: Mapped[int] = mapped_column(BigInteger, ForeignKey(Player.account_id), index=True)
    created_at: Mapped[datetime] = mapped_column(DateTime(timezone=True), server_default=func.now())
    expires_at: Mapped[datetime] = mapped_column(DateTime(timezone=True))
    device: Mapped[str | None] = mapped_column(Text)
    last_seen_at: Mapped[datetime] = mapped_column(DateTime(timezone=True), server_default=func.now(), index=True)


@dataclass(frozen=True, slots=True)
class Caller:
    """The player who sent this request."""

    account_id: int
    account_number: str
    character_name: str
    session_id: int
    is_admin: bool


@dataclass(frozen=True, slots=True)
class OpenSession:
    """A log-in as its player sees it."""

    id: int
    device: str | None
    started_at: datetime
    last_seen_at: datetime


_FIND_CALLER: Final = select(
    func.find_caller(bindparam("token_hash"), bindparam("seen")).table_valued(
        *("account_id", "account_number", "character_name", "session_id", "is_admin", "must_change_password"),
    )
)

bearer = HTTPTokenAuth(description="The access_token that a log-in gives.")


def begin(connection: Connection, account_id: int) -> str:
    """Begin a session on the device that sent this request and give its token, which is kept nowhere."""
    token = secrets.token_urlsafe(32)
    values = {"token_hash": _hash(token), "account_id": account_id, "device": _device()}
    connection.execute(insert(Session).values(values | {"expires_at": func.now() + LIFETIME}))
    return token


def open_sessions(connection: Connection, account_id: int) -> Sequence[OpenSession]:
    """List the newest sessions of a player that have not ended, at most MAX_LISTED."""
    statement = (
        select(Session.id, Session.device, Session.created_at, Session.last_seen_at)
        .where(Session.account_id == account_id, Session.expires_at > func.now())
        .order_by(Session.id.desc())
        .limit(MAX_LISTED)
    )
    return [OpenSession(*row) for row in connection.execute(statement)]


def end(connection: Connection, account_id: int, session_id: int) -> bool:
    """End a player's session, and tell whether there was one; somebody else's is none of theirs."""
    ended = delete(Session).where(Session.id == session_id, Session.account_id == account_id)
    return connection.execute(ended).rowcount > 0


def end_others(connection: Connection, kept: Caller) -> None:
    """End every session of a player but the one that sent this request."""
    connection.execute(delete(Session).where(Session.account_id == kept.account_id, Session.id != kept.session_id))


def forget_ended(connection: Connection) -> int:
    """Remove the sessions whose time is up; gives how many there were."""
    return connection.execute(delete(Session).where(Session.expires_at < func.now())).rowcount


def _caller(token: str) -> Caller | None:
    if not token:
        return None
    values = {"token_hash": _hash(token), "seen": SEEN}
    row = current_bank().first(lambda connection: connection.execute(_FIND_CALLER, values).one())
    account_id, account_number, character_name, session_id, is_admin, must_change_password = row
    if session_id is None:
        return None
    found = Caller(account_id, account_number, character_name, session_id, is_admin)
    note_account(account_number)
    if must_change_password and request.endpoint != CHANGES_PASSWORD:
        raise Forbidden("Your password is for one time: change it first, at PUT /api/v1/account/password.")
    return found


def _refuse(status: int) -> Response:
    if status == HTTPStatus.FORBIDDEN:
        return problem(status, "This is for organisers only.")
    return problem(status, "Log in first: this needs a valid bearer token.")


bearer.verify_token(_caller)
bearer.error_handler(_refuse)
bearer.get_user_roles(lambda found: [ORGANISER] if found.is_admin else [])


def caller() -> Caller:
    """Give the player who sent this request; for routes that require the bearer token."""
    found = bearer.current_user
    if not isinstance(found, Caller):
        raise TypeError("this route does not require a bearer token")
    return found


def _device() -> str | None:
    shown = "".join(character for character in request.user_agent.string if character.isprintable())
    return shown[:MAX_DEVICE] or None


def _hash(token: str) -> bytes:
    return hmac.digest(current_bank().settings.secret_key, token.encode(), hashlib.sha256)
