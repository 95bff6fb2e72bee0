"""API keys of terminals: every query on them. A key is shown once and stored as a hash.

A key is 256 random bits, so its plain SHA-256 can't be guessed back, and a new SECRET_KEY ends no key.
"""

import hashlib
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Final

from sqlalchemy import ColumnElement, Connection, bindparam, func, insert, or_, select, update

from neobank.errors import BankError, Forbidden, NotFound
from neobank.ledger.models import Account
from neobank.ledger.operations import may_act
from neobank.players.models import Player
from neobank.vendors.models import ApiKey

PREFIX: Final = "nbk_"
SHOWN: Final = 8  # characters after PREFIX, by which people tell keys apart


class Scope(StrEnum):
    """What a key may do: only ask players, pay out of its own account, or move any player's money."""

    CHARGE = "charge"
    PAY = "pay"
    DEBIT = "debit"


@dataclass(frozen=True, slots=True)
class Vendor:
    """The owner of the key that a request was sent with."""

    key_id: int
    scope: Scope
    account_id: int
    account_number: str
    account_name: str
    may_act: bool
    """False while the account is frozen."""

    def require(self, *scopes: Scope) -> None:
        """Raise Forbidden unless the key has one of these scopes."""
        if self.scope not in scopes:
            wanted = " or ".join(scopes)
            raise Forbidden(f"This key has the scope {self.scope}, and this takes {wanted}: ask an organiser for one.")


@dataclass(frozen=True, slots=True)
class Key:
    """A key as organisers see it, without its secret."""

    id: int
    prefix: str
    description: str
    scope: str
    account_number: str
    created_at: datetime
    expires_at: datetime | None


def _active() -> ColumnElement[bool]:
    return ApiKey.revoked_at.is_(None) & or_(ApiKey.expires_at.is_(None), ApiKey.expires_at > func.now())


_FIND: Final = (
    select(ApiKey.id, ApiKey.scope, Account.id, Account.number, Account.name, may_act())
    .join(Account, Account.id == ApiKey.account_id)
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
    """Make a key for a player's account and give it, this once. Raises BankError where there is no such account."""
    key = PREFIX + secrets.token_urlsafe(32)
    owner = select(Player.account_id).join(Account, Account.id == Player.account_id)
    account_id = connection.execute(owner.where(Account.number == account_number)).scalar_one_or_none()
    if account_id is None:
        raise BankError(f"No player has the account {account_number}.")
    values = {
        "key_hash": _hash(key),
        "prefix": key[: len(PREFIX) + SHOWN],
        "description": description,
        "scope": scope,
        "account_id": account_id,
        "created_by": created_by,
        "expires_at": expires_at,
    }
    row = connection.execute(insert(ApiKey).values(values).returning(ApiKey.id, ApiKey.prefix, ApiKey.created_at)).one()
    return key, Key(row.id, row.prefix, description, scope, account_number, row.created_at, expires_at)


def active(connection: Connection) -> Sequence[Key]:
    """List the keys that work, newest first."""
    statement = (
        select(
            ApiKey.id,
            ApiKey.prefix,
            ApiKey.description,
            ApiKey.scope,
            Account.number,
            ApiKey.created_at,
            ApiKey.expires_at,
        )
        .join(Account, Account.id == ApiKey.account_id)
        .where(_active())
        .order_by(ApiKey.id.desc())
    )
    return [Key(*row) for row in connection.execute(statement)]


def revoke(connection: Connection, key_id: int) -> str:
    """End a key at once and give its prefix. Raises NotFound where no such key works."""
    ended = update(ApiKey).where(ApiKey.id == key_id, _active()).values(revoked_at=func.now()).returning(ApiKey.prefix)
    prefix = connection.execute(ended).scalar_one_or_none()
    if prefix is None:
        raise NotFound(f"No key with the id {key_id} works.")
    return prefix


def find_vendor(connection: Connection, key: str) -> Vendor | None:
    """Return the owner of a key, if it is neither revoked nor expired."""
    row = connection.execute(_FIND, {"key_hash": _hash(key)}).one_or_none()
    if row is None:
        return None
    key_id, scope, account_id, number, name, allowed = row
    return Vendor(key_id, Scope(scope), account_id, number, name, allowed)


def _hash(key: str) -> bytes:
    return hashlib.sha256(key.encode()).digest()
