"""Players' operations other than payments: registration, authentication, passwords and profiles."""

from dataclasses import dataclass
from datetime import datetime
from typing import Final

from sqlalchemy import ColumnElement, Connection, Select, insert, select, update

from neobank import names
from neobank.errors import BankError, NotAuthenticated, NotFound
from neobank.free_spins import free_spins_of
from neobank.ledger.models import SYSTEM_ID, Account
from neobank.ledger.operations import AccountFrozen, Kind, balance_of, may_act, open_account, pay
from neobank.players import passwords, pictures
from neobank.players.factions import recognise
from neobank.players.models import Player, RegistrationTerms

_WRONG_LOGIN: Final = "The name or the password is wrong."


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
    free_spins: int


@dataclass(frozen=True, slots=True)
class Credentials:
    """The stored credentials that a log-in is checked against."""

    account_id: int
    password_hash: str
    must_change_password: bool
    used_up: bool
    """True for a one-time password with which the player has logged in."""


@dataclass(frozen=True, slots=True)
class Card:
    """The public part of a player's profile."""

    character_name: str
    account_number: str
    faction: str | None
    profile_picture: str | None


def profiles() -> Select[int, str, str, str | None, str | None, bool, datetime, int, int]:
    """Return the query for the fields of a Profile, for all players."""
    return select(
        Account.id,
        Account.number,
        Account.name,
        Player.faction,
        Player.profile_picture,
        Player.is_admin,
        Account.created_at,
        balance_of(Account.id),
        free_spins_of(Account.id),
    ).join(Player, Player.account_id == Account.id)


def profile(connection: Connection, account_id: int) -> Profile:
    """Return the profile of an existing player."""
    return Profile(*connection.execute(profiles().where(Account.id == account_id)).one())


def opening_balance(connection: Connection) -> int:
    """Return what a new player receives, in hundredths of ¤."""
    return connection.execute(select(RegistrationTerms.opening_balance)).scalar_one()


def register(
    connection: Connection, *, name: str, password_hash: str, faction: str | None, is_admin: bool = False
) -> Profile:
    """Open an account for a new player and pay the opening balance. Raise NameTaken or UnknownFaction."""
    if faction is not None:
        faction = recognise(connection, faction)
    account_id = open_account(connection, name=name, name_key=names.key(name), skeleton=names.skeleton(name))
    connection.execute(
        insert(Player).values(account_id=account_id, password_hash=password_hash, faction=faction, is_admin=is_admin)
    )
    opened = profile(connection, account_id)
    # Every registration changes SYSTEM's balance, so its lock is taken last and held only until the commit.
    pay(
        connection,
        debit=SYSTEM_ID,
        credit_number=opened.account_number,
        amount=opening_balance(connection),
        kind=Kind.OPENING_BALANCE,
        memo="Opening balance",
        actor=SYSTEM_ID,
    )
    return profile(connection, account_id)


def authenticate(found: Credentials | None, password: str) -> Credentials:
    """Return the credentials that were found, if this is their password.

    An unknown name, a wrong password and a one-time password that was used raise the same NotAuthenticated, after the
    same time. It holds no database connection, because hashing is slow and other requests need the connections.
    """
    stored = found.password_hash if found else passwords.DUMMY_HASH
    if not passwords.matches(password, stored) or found is None or found.used_up:
        raise NotAuthenticated(_WRONG_LOGIN)
    return found


def lock_credentials(connection: Connection, proven: Credentials) -> None:
    """Check that proven credentials are still valid, and keep them from changing until the transaction ends.

    A one-time password is used by this. The password may have been changed or used while it was verified. Raise
    NotAuthenticated if it was, AccountFrozen if the account may not act.
    """
    if proven.must_change_password:
        _use_one_time_password(connection, proven)
    statement = (
        select(may_act())
        .select_from(Account)
        .join(Player, Player.account_id == Account.id)
        .where(Player.account_id == proven.account_id, Player.password_hash == proven.password_hash)
        .with_for_update(read=True, of=Player)
    )
    allowed = connection.execute(statement).scalar_one_or_none()
    if allowed is None:
        raise NotAuthenticated(_WRONG_LOGIN)
    if not allowed:
        raise AccountFrozen


def _use_one_time_password(connection: Connection, proven: Credentials) -> None:
    statement = (
        update(Player)
        .where(
            Player.account_id == proven.account_id,
            Player.password_hash == proven.password_hash,
            Player.used_one_time_hash.is_distinct_from(Player.password_hash),
        )
        .values(used_one_time_hash=Player.password_hash)
    )
    if connection.execute(statement).rowcount == 0:
        raise NotAuthenticated(_WRONG_LOGIN)


def find_credentials(connection: Connection, name: str) -> Credentials | None:
    """Return the credentials of the player with an equal `names.key`, or None."""
    statement = _credentials().join(Account, Account.id == Player.account_id).where(Account.name_key == names.key(name))
    row = connection.execute(statement).one_or_none()
    return None if row is None else Credentials(*row)


def credentials(connection: Connection, account_id: int) -> Credentials:
    """Return the credentials of an existing player."""
    return Credentials(*connection.execute(_credentials().where(Player.account_id == account_id)).one())


def _credentials() -> Select[int, str, bool, bool]:
    used_up = Player.must_change_password & Player.used_one_time_hash.is_not_distinct_from(Player.password_hash)
    return select(Player.account_id, Player.password_hash, Player.must_change_password, used_up)


def prepare_password(found: Credentials, *, current: str, new: str) -> str:
    """Check the current password and return the hash of the new one.

    Raise NotAuthenticated if `current` is wrong, BankError if the new password is the same. It holds no database
    connection, because hashing is slow.
    """
    if not passwords.matches(current, found.password_hash):
        raise NotAuthenticated("The current password is wrong.")
    if new == current:
        raise BankError("The new password is the current one: choose a different one.")
    return passwords.hash_password(new)


def change_password(connection: Connection, found: Credentials, new_hash: str) -> None:
    """Replace a password that was found and checked. Raise NotAuthenticated if it was changed meanwhile."""
    statement = (
        update(Player)
        .where(Player.account_id == found.account_id, Player.password_hash == found.password_hash)
        .values(password_hash=new_hash, must_change_password=False)
    )
    if connection.execute(statement).rowcount == 0:
        raise NotAuthenticated("The current password is wrong.")


def change_profile(
    connection: Connection, account_id: int, *, faction: str | None, profile_picture: str | None
) -> Profile:
    """Change the fields of a player's profile that are not None; a blank faction leaves it.

    Raise UnknownFaction or InvalidImage.
    """
    if profile_picture is not None:  # first, because an upload locks the picture before the player as well
        pictures.change(connection, account_id, profile_picture)
    if faction is not None:
        chosen = recognise(connection, faction) if names.key(faction) else None
        connection.execute(update(Player).where(Player.account_id == account_id).values(faction=chosen))
    return profile(connection, account_id)


def card_by_number(connection: Connection, number: str) -> Card:
    """Return the player with this account number. Raise NotFound if there is none."""
    return _card(connection, Account.number == number, f"No player has the account number {number}.")


def card_by_name(connection: Connection, name: str) -> Card:
    """Return the player with an equal `names.key`. Raise NotFound if there is none."""
    return _card(connection, Account.name_key == names.key(name), f"No player has the name {name}.")


def _card(connection: Connection, which: ColumnElement[bool], message: str) -> Card:
    statement = select(Account.name, Account.number, Player.faction, Player.profile_picture)
    row = connection.execute(statement.join(Player, Player.account_id == Account.id).where(which)).one_or_none()
    if row is None:
        raise NotFound(message)
    return Card(*row)
