"""Who is asking: opaque bearer tokens, kept as keyed hashes, which end on every pod at once."""

import hashlib
import hmac
import secrets
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from apiflask import HTTPTokenAuth
from flask import Response
from sqlalchemy import BigInteger, Connection, DateTime, ForeignKey, Identity, LargeBinary, func, insert, select
from sqlalchemy.orm import Mapped, mapped_column

from neobank.database import Base
from neobank.ledger.models import Account
from neobank.players.models import Player
from neobank.web.bank import current_bank
from neobank.web.errors import problem

LIFETIME: Final = timedelta(days=7)


class Session(Base):
    """A log-in that lasts until it is ended or its time is up."""

    __tablename__ = "sessions"

    id: Mapped[int] = mapped_column(BigInteger, Identity(always=True), primary_key=True)
    token_hash: Mapped[bytes] = mapped_column(LargeBinary, unique=True)
    account_id: Mapped[int] = mapped_column(BigInteger, ForeignKey(Player.account_id), index=True)
    created_at: Mapped[datetime] = mapped_column(DateTime(timezone=True), server_default=func.now())
    expires_at: Mapped[datetime] = mapped_column(DateTime(timezone=True))


@dataclass(frozen=True, slots=True)
class Caller:
    """The player who sent this request."""

    account_id: int
    account_number: str
    character_name: str


bearer = HTTPTokenAuth(description="The access_token that a log-in gives.")


def begin(connection: Connection, account_id: int) -> str:
    """Begin a session and give its token, which is kept nowhere."""
    token = secrets.token_urlsafe(32)
    connection.execute(
        insert(Session).values(token_hash=_hash(token), account_id=account_id, expires_at=func.now() + LIFETIME)
    )
    return token


def _caller(token: str) -> Caller | None:
    if not token:
        return None
    statement = (
        select(Account.id, Account.number, Account.name)
        .join(Session, Session.account_id == Account.id)
        .where(Session.token_hash == _hash(token), Session.expires_at > func.now())
    )
    with current_bank().statement() as connection:
        row = connection.execute(statement).one_or_none()
    return None if row is None else Caller(*row)


def _refuse(status: int) -> Response:
    return problem(status, "Log in first: this needs a valid bearer token.", {"WWW-Authenticate": "Bearer"})


bearer.verify_token(_caller)
bearer.error_handler(_refuse)


def caller() -> Caller:
    """Give the player who sent this request; for routes that require the bearer token."""
    found = bearer.current_user
    if not isinstance(found, Caller):
        raise TypeError("this route does not require a bearer token")
    return found


def _hash(token: str) -> bytes:
    return hmac.digest(current_bank().settings.secret_key, token.encode(), hashlib.sha256)
