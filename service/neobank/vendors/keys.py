"""API keys of terminals, and every query on them. A key is shown once and stored as its SHA-256 hash.

A key of the scope `debit` may do what only organisers may: take money from any player. So it works only while the
player who made it is an organiser who may act, and a reset of their password revokes it.

A key is 256 random bits, so it cannot be guessed from its hash, which needs no salt and no secret. Therefore the keys
stay valid when SECRET_KEY changes.
"""

import hashlib
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Final

from sqlalchemy import ColumnElement, Connection, Select, and_, bindparam, func, insert, or_, select, update
from sqlalchemy.orm import aliased

from neobank.errors import Forbidden, NotFound
from neobank.ledger.models import Account
from neobank.ledger.operations import may_act
from neobank.players.models import Player
from neobank.vendors.accounts import find_player
from neobank.vendors.models import ApiKey

PREFIX: Final = "nbk_"
SHOWN: Final = 8
"""The number of characters after PREFIX that are stored and shown, so that people can tell keys apart."""


class Scope(StrEnum):
    """What a key may do: only create charges, also pay from its own account, or also pay from any player's account."""

    CHARGE = "charge"
    PAY = "pay"
    DEBIT = "debit"


class KeySuspended(Forbidden):
    """The maker of a `debit` key is not an organiser any more, or is frozen."""

    def __init__(self) -> None:
        super().__init__(
            "The player who made this key is not an organiser any more, or is frozen: ask an organiser for a new key."
        )


@dataclass(frozen=True, slots=True)
class Vendor:
    """The owner of the API key of a request."""

    key_id: int
    scope: Scope
    account_id: int
    account_number: str
    account_name: str
    may_act: bool
    """False while the account is frozen."""
    maker_authorised: bool
    """False for a `debit` key while its maker is not an organiser, or is frozen."""

    def require(self, *scopes: Scope) -> None:
        """Raise Forbidden unless the key has one of these scopes."""
        if self.scope not in scopes:
            needed = " or ".join(scopes)
            raise Forbidden(
                f"This needs the scope {needed}, but the key has the scope {self.scope}: ask an organiser for another."
            )


@dataclass(frozen=True, slots=True)
class Key:
    """A key as organisers see it, without its secret."""

    id: int
    prefix: str
    description: str
    scope: str
    account_number: str
    created_by: str
    """The account number of the organiser who made the key."""
    created_by_name: str
    suspended: bool
    """True for a `debit` key while its maker is not an organiser, or is frozen."""
    created_at: datetime
    expires_at: datetime | None


_MAKER: Final = aliased(Account, name="maker")


def _maker_authorised() -> ColumnElement[bool]:
    """Return the SQL condition that the maker of a key, the account `maker`, may still do what the key does."""
    is_organiser = select(Player.is_admin).where(Player.account_id == ApiKey.created_by).scalar_subquery()
    return or_(ApiKey.scope != Scope.DEBIT, and_(is_organiser, may_act("maker")))


def _active() -> ColumnElement[bool]:
    return ApiKey.revoked_at.is_(None) & or_(ApiKey.expires_at.is_(None), ApiKey.expires_at > func.now())


_FIND: Final = (
    select(ApiKey.id, ApiKey.scope, Account.id, Account.number, Account.name, may_act(), _maker_authorised())
    .join(Account, Account.id == ApiKey.account_id)
    .join(_MAKER, _MAKER.id == ApiKey.created_by)
    .where(ApiKey.key_hash == bindparam("key_hash"), _active())
)


def create(
    connection: Connection,
    *,
    description: str,
    scope: Scope,
    account_number: str,
    created_by: int,
    expires_at: datetime | None,
) -> tuple[str, Key]:
    """Create a key for a player's account. Return its secret, which is not stored, and the key as it is listed.

    Raise UnknownAccount if no player has the account number.
    """
    secret = PREFIX + secrets.token_urlsafe(32)
    account_id, _ = find_player(connection, account_number)
    values = {
        "key_hash": _hash(secret),
        "prefix": secret[: len(PREFIX) + SHOWN],
        "description": description,
        "scope": scope,
        "account_id": account_id,
        "created_by": created_by,
        "expires_at": expires_at,
    }
    key_id = connection.execute(insert(ApiKey).values(values).returning(ApiKey.id)).scalar_one()
    return secret, Key(*connection.execute(_keys().where(ApiKey.id == key_id)).one())


def active(connection: Connection) -> Sequence[Key]:
    """List the valid keys, newest first."""
    return [Key(*row) for row in connection.execute(_keys().where(_active()).order_by(ApiKey.id.desc()))]


def _keys() -> Select[int, str, str, str, str, str, str, bool, datetime, datetime | None]:
    """Return the query for the fields of a Key, for all keys."""
    return (
        select(
            ApiKey.id,
            ApiKey.prefix,
            ApiKey.description,
            ApiKey.scope,
            Account.number,
            _MAKER.number,
            _MAKER.name,
            ~_maker_authorised(),
            ApiKey.created_at,
            ApiKey.expires_at,
        )
        .join(Account, Account.id == ApiKey.account_id)
        .join(_MAKER, _MAKER.id == ApiKey.created_by)
    )


def revoke(connection: Connection, key_id: int) -> str:
    """Revoke a key immediately, and return its prefix. Raise NotFound if there is no valid key with this id."""
    statement = (
        update(ApiKey).where(ApiKey.id == key_id, _active()).values(revoked_at=func.now()).returning(ApiKey.prefix)
    )
    prefix = connection.execute(statement).scalar_one_or_none()
    if prefix is None:
        raise NotFound(f"There is no valid key with the id {key_id}: it may have expired or been revoked.")
    return prefix


def revoke_debit_keys(connection: Connection, maker: int) -> int:
    """Revoke the valid `debit` keys that a player (an account id) made, and return their number."""
    made = (ApiKey.created_by == maker, ApiKey.scope == Scope.DEBIT)
    return connection.execute(update(ApiKey).where(*made, _active()).values(revoked_at=func.now())).rowcount


def find_vendor(connection: Connection, secret: str) -> Vendor | None:
    """Return the owner of a key, or None if the key is unknown, expired or revoked."""
    row = connection.execute(_FIND, {"key_hash": _hash(secret)}).one_or_none()
    if row is None:
        return None
    key_id, scope, account_id, number, name, allowed, maker_allowed = row
    return Vendor(key_id, Scope(scope), account_id, number, name, allowed, maker_allowed)


def _hash(secret: str) -> bytes:
    return hashlib.sha256(secret.encode()).digest()
