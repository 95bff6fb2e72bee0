"""What players do apart from paying: join, prove who they are, look at their account."""

from dataclasses import dataclass
from datetime import datetime
from typing import Final

from sqlalchemy import Connection, Select, insert, select

from neobank.errors import NotAuthenticated
from neobank.ledger.models import SYSTEM_ID, Account
from neobank.ledger.operations import Kind, balance_of, open_account, pay
from neobank.players import names, passwords
from neobank.players.models import Player

OPENING_BALANCE: Final = 100_000
"""What a new player starts with, in hundredths."""


@dataclass(frozen=True, slots=True)
class Profile:
    """A player and their money; the balance is in hundredths."""

    account_id: int
    account_number: str
    character_name: str
    faction: str | None
    profile_picture: str | None
    is_admin: bool
    created_at: datetime
    balance: int


@dataclass(frozen=True, slots=True)
class Credentials:
    """What a player has to match to be let in."""

    account_id: int
    password_hash: str


def _profiles() -> Select[int, str, str, str | None, str | None, bool, datetime, int]:
    return select(
        Account.id,
        Account.number,
        Account.name,
        Player.faction,
        Player.profile_picture,
        Player.is_admin,
        Account.created_at,
        balance_of(Account.id),
    ).join(Player, Player.account_id == Account.id)


def profile(connection: Connection, account_id: int) -> Profile:
    """Look up a player who exists."""
    return Profile(*connection.execute(_profiles().where(Account.id == account_id)).one())


def register(
    connection: Connection, *, name: str, password_hash: str, faction: str | None, is_admin: bool = False
) -> Profile:
    """Open an account for a new player and give them their opening balance. Raises NameTaken."""
    account_id = open_account(connection, name=name, name_key=names.key(name))
    connection.execute(
        insert(Player).values(account_id=account_id, password_hash=password_hash, faction=faction, is_admin=is_admin)
    )
    opened = profile(connection, account_id)
    # SYSTEM's balance is everybody's: its lock is taken last and held for the commit alone.
    pay(
        connection,
        debit=SYSTEM_ID,
        credit_number=opened.account_number,
        amount=OPENING_BALANCE,
        kind=Kind.OPENING_BALANCE,
        memo="Opening balance",
        actor=SYSTEM_ID,
    )
    return profile(connection, account_id)


def authenticate(found: Credentials | None, password: str) -> int:
    """Give the id of the account whose credentials were found, if this is its password.

    An unknown name and a wrong password raise the same NotAuthenticated, after the same time. It takes no connection:
    hashing is slow, and nobody should wait for one meanwhile.
    """
    kept = found.password_hash if found else passwords.NOBODYS_HASH
    if not passwords.matches(password, kept) or found is None:
        raise NotAuthenticated("The name or the password is wrong.")
    return found.account_id


def find_credentials(connection: Connection, name: str) -> Credentials | None:
    """Look up the player with this name, or one that reads the same."""
    statement = (
        select(Player.account_id, Player.password_hash)
        .join(Account, Account.id == Player.account_id)
        .where(Account.name_key == names.key(name))
    )
    row = connection.execute(statement).one_or_none()
    return None if row is None else Credentials(*row)
