"""Players, as organisers look for them and act on them."""

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import Connection, bindparam, func, select, text, update

from neobank import names, sessions
from neobank.errors import Forbidden, NotFound
from neobank.ledger.models import HOUSE_ID, HOUSE_NUMBER, SYSTEM_ID, Account, Transfer
from neobank.players.models import Player
from neobank.players.operations import Profile, profile, profiles

MAX_FOUND = 50


@dataclass(frozen=True, slots=True)
class Subject:
    """A player whom an organiser acts on."""

    account_id: int
    number: str
    frozen: bool


@dataclass(frozen=True, slots=True)
class Turnover:
    """All that an account ever paid and was paid, in hundredths."""

    sent: int
    received: int


# Each of the three on an index of its own: for the order's sake the planner would rather walk through all names.
_FOUND = text("""
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
    """Find players by the beginning of their number, their name or a word in it, at most MAX_FOUND, by name."""
    key = names.key(wanted)
    words = [f"'{word}':*" for word in key.replace("\\", " ").replace("'", " ").split()]
    values = {"name": key, "number": wanted.strip().upper(), "words": " & ".join(words)}
    found = connection.execute(_FOUND, values | {"first_other": SYSTEM_ID, "limit": MAX_FOUND}).scalars().all()
    statement = profiles().where(Account.id.in_(found)).order_by(Account.name_key)
    return [Profile(*row) for row in connection.execute(statement)]


def find(connection: Connection, number: str) -> Subject:
    """Look up a player by account number. Raises NotFound."""
    row = connection.execute(_SUBJECT, {"number": number.strip().upper()}).one_or_none()
    if row is None:
        raise NotFound(f"No player has the account {number}.")
    return Subject(*row)


def find_with_house(connection: Connection, number: str) -> Subject:
    """Look up a player, or the house, whose bankroll organisers may top up, by account number. Raises NotFound."""
    if number.strip().upper() == HOUSE_NUMBER:
        return Subject(HOUSE_ID, HOUSE_NUMBER, frozen=False)
    return find(connection, number)


def turnover(connection: Connection, subject: Subject) -> Turnover:
    """Add up all that a player ever paid and was paid."""
    sent, received = connection.execute(_TURNOVER, {"account": subject.account_id}).one()
    return Turnover(int(sent), int(received))


def set_one_time_password(connection: Connection, subject: Subject, password_hash: str) -> None:
    """Replace a player's password by one that opens nothing but its change, and log them out everywhere."""
    values = {"password_hash": password_hash, "must_change_password": True}
    connection.execute(update(Player).where(Player.account_id == subject.account_id).values(values))
    end_sessions(connection, subject)


def toggle_admin(connection: Connection, subject: Subject, *, by: int) -> Profile:
    """Make a player an organiser, or no longer one. Raises Forbidden for oneself: somebody has to remain."""
    if subject.account_id == by:
        raise Forbidden("Nobody changes this for themselves: ask another organiser.")
    changed = update(Player).where(Player.account_id == subject.account_id).values(is_admin=~Player.is_admin)
    connection.execute(changed)
    return profile(connection, subject.account_id)


def freeze(connection: Connection, subject: Subject, *, by: int) -> None:
    """Stop an account: it pays nobody, its keys and its sessions are dead at once. Raises Forbidden for oneself."""
    if subject.account_id == by:
        raise Forbidden("Nobody freezes themselves: ask another organiser.")
    connection.execute(_SET_FROZEN, {"account": subject.account_id, "frozen": True})
    end_sessions(connection, subject)


def unfreeze(connection: Connection, subject: Subject) -> None:
    """Let an account pay again."""
    connection.execute(_SET_FROZEN, {"account": subject.account_id, "frozen": False})


def end_sessions(connection: Connection, subject: Subject) -> int:
    """Log a player out everywhere; gives how many sessions there were."""
    return sessions.end_all(connection, subject.account_id)
