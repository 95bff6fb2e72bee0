"""What organisers do with players: find, freeze, unfreeze, appoint as organiser, reset passwords, end sessions."""

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import Connection, bindparam, func, select, text, update

from neobank import names, sessions
from neobank.errors import Forbidden, NotFound
from neobank.ledger.models import HOUSE_ID, HOUSE_NUMBER, SYSTEM_ID, Account, Transfer
from neobank.players.models import Player
from neobank.players.operations import Profile, profile, profiles
from neobank.vendors import keys

MAX_FOUND = 50
"""The largest number of players that a search returns."""


@dataclass(frozen=True, slots=True)
class Subject:
    """The account that an organiser's action concerns."""

    account_id: int
    number: str
    frozen: bool


@dataclass(frozen=True, slots=True)
class Turnover:
    """The total amounts that an account ever sent and received, in hundredths."""

    sent: int
    received: int


# Each part of the union uses its own index. Otherwise the planner reads all names in index order, to avoid a sort.
_SEARCH = text("""
    WITH by_word AS MATERIALIZED (
        SELECT id, name_key FROM accounts WHERE to_tsvector('simple', name_key) @@ to_tsquery('simple', :words)
    )
    SELECT id FROM (
        (SELECT id, name_key FROM accounts WHERE name_key ^@ :name ORDER BY name_key LIMIT :limit)
        UNION (SELECT id, name_key FROM accounts WHERE number ^@ :number ORDER BY number LIMIT :limit)
        UNION SELECT id, name_key FROM by_word
    ) AS matches WHERE id < :first_other ORDER BY name_key LIMIT :limit
""")
_SUBJECT = (
    select(Account.id, Account.number, Account.frozen)
    .join(Player, Player.account_id == Account.id)
    .where(Account.number == bindparam("number"))
)
_SENT = select(func.coalesce(func.sum(Transfer.amount), 0)).where(Transfer.debit_account_id == bindparam("account"))
_RECEIVED = select(func.coalesce(func.sum(Transfer.amount), 0)).where(
    Transfer.credit_account_id == bindparam("account")
)
_SET_FROZEN = text("SELECT set_frozen(:account, :frozen)")
_TURNOVER = select(_SENT.scalar_subquery(), _RECEIVED.scalar_subquery())


def search(connection: Connection, wanted: str) -> Sequence[Profile]:
    """Find players by the beginning of the account number, the name or a word in the name.

    Return at most MAX_FOUND, ordered by name.
    """
    key = names.key(wanted)
    words = [f"'{word}':*" for word in key.replace("\\", " ").replace("'", " ").split()]
    values = {"name": key, "number": wanted.strip().upper(), "words": " & ".join(words)}
    ids = connection.execute(_SEARCH, values | {"first_other": SYSTEM_ID, "limit": MAX_FOUND}).scalars().all()
    statement = profiles().where(Account.id.in_(ids)).order_by(Account.name_key)
    return [Profile(*row) for row in connection.execute(statement)]


def find(connection: Connection, number: str) -> Subject:
    """Look up a player by account number. Raise NotFound if there is none."""
    row = connection.execute(_SUBJECT, {"number": number.strip().upper()}).one_or_none()
    if row is None:
        raise NotFound(f"No player has the account {number}.")
    return Subject(*row)


def find_with_house(connection: Connection, number: str) -> Subject:
    """Look up a player or the house by account number. Raise NotFound if it is neither.

    Organisers may adjust the house's balance, to add money to its bankroll.
    """
    if number.strip().upper() == HOUSE_NUMBER:
        return Subject(HOUSE_ID, HOUSE_NUMBER, frozen=False)
    return find(connection, number)


def turnover(connection: Connection, subject: Subject) -> Turnover:
    """Add up the amounts that a player ever sent and received."""
    sent, received = connection.execute(_TURNOVER, {"account": subject.account_id}).one()
    return Turnover(int(sent), int(received))


def set_one_time_password(connection: Connection, subject: Subject, password_hash: str) -> int:
    """Set a player's one-time password, which works for one log-in.

    All sessions of the player end, and the `debit` keys that the player made are revoked: a person who knew the old
    password may have copied them. Return the number of revoked keys.
    """
    values = {"password_hash": password_hash, "must_change_password": True}
    connection.execute(update(Player).where(Player.account_id == subject.account_id).values(values))
    end_sessions(connection, subject)
    return keys.revoke_debit_keys(connection, subject.account_id)


def set_role(connection: Connection, subject: Subject, *, is_admin: bool | None, by: int) -> Profile:
    """Make a player an organiser or an organiser a player; None changes the current role to the other one.

    Raise Forbidden if it is the account of the organiser `by`. So one organiser always remains: the audit row, which
    comes last, is refused if another organiser has demoted or frozen `by` meanwhile.
    """
    if subject.account_id == by:
        raise Forbidden("You cannot change your own role: ask another organiser.")
    role = ~Player.is_admin if is_admin is None else is_admin
    connection.execute(update(Player).where(Player.account_id == subject.account_id).values(is_admin=role))
    return profile(connection, subject.account_id)


def freeze(connection: Connection, subject: Subject, *, by: int) -> Profile:
    """Freeze an account (see FREEZING in functions/ledger.sql) and end its sessions.

    Raise Forbidden if it is the account of the organiser `by`.
    """
    if subject.account_id == by:
        raise Forbidden("You cannot freeze your own account: ask another organiser.")
    connection.execute(_SET_FROZEN, {"account": subject.account_id, "frozen": True})
    end_sessions(connection, subject)
    return profile(connection, subject.account_id)


def unfreeze(connection: Connection, subject: Subject) -> Profile:
    """Unfreeze an account."""
    connection.execute(_SET_FROZEN, {"account": subject.account_id, "frozen": False})
    return profile(connection, subject.account_id)


def end_sessions(connection: Connection, subject: Subject) -> int:
    """End all sessions of a player, and return how many there were."""
    return sessions.end_all(connection, subject.account_id)
