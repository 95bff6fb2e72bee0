"""What organisers send and are shown."""

from datetime import datetime
from typing import Annotated

from pydantic import AfterValidator, Field, StrictBool

from neobank import names
from neobank.admin.money import NO_FACTION
from neobank.admin.reports import MAX_OFFSET
from neobank.audit.operations import Detail
from neobank.ledger.models import MAX_MEMO
from neobank.payments.schemas import Transaction
from neobank.players.models import MAX_FACTION
from neobank.players.schemas import NewPassword, User
from neobank.switches.operations import MAX_CODE, RegistrationMode
from neobank.web.requests import Amount, Answer, Body, Maybe, Money, SignedAmount, Text


def _visible(value: str) -> str:
    if not names.key(value):
        raise ValueError("write something that can be read.")
    return value


def _faction(name: str) -> str:
    name = names.tidy(name)
    if any(character in name for character in "/?#"):
        raise ValueError("a faction's name has no / ? #, since it stands in addresses.")
    if names.key(name) == names.key(NO_FACTION):
        raise ValueError(f"{NO_FACTION} is how those without a faction are named.")
    return name


Reason = Annotated[Text, Field(max_length=MAX_MEMO), AfterValidator(_visible)]


class UserSearch(Body):
    """Whom to look for: the beginning of a number, a name, or a word in it."""

    q: Annotated[Text, Field(max_length=names.MAX_NAME), AfterValidator(_visible)]


class Page(Body):
    """Which part of a list: at most `limit` after leaving out `offset`."""

    limit: Annotated[int, Field(ge=1, le=100)] = 50
    offset: Annotated[int, Field(ge=0, le=MAX_OFFSET)] = 0


class PasswordReset(Body):
    """The password to give to the player; it opens nothing but its own change."""

    new_password: NewPassword


class Adjustment(Body):
    """How much to give or, negative, to take, and why: the player reads it."""

    amount: SignedAmount
    reason: Reason


class ReversalReason(Body):
    """Why: both players read it."""

    reason: Reason


class Credit(Body):
    """How much each member gets, and why: they read it."""

    amount: Amount
    reason: Reason


class NewFaction(Body):
    """A faction to create."""

    name: Annotated[Text, Field(max_length=MAX_FACTION), AfterValidator(_faction)]
    description: Maybe[Annotated[Text, Field(max_length=500)]] = None


class SwitchesChange(Body):
    """What to switch; what is left out stays."""

    read_only: Maybe[StrictBool] = None
    registration: Maybe[RegistrationMode] = None
    event_code: Maybe[Annotated[Text, Field(max_length=MAX_CODE)]] = None


class Users(Answer):
    """Players, by name."""

    users: list[User]


class UserDetail(Answer):
    """A player, all they ever paid and were paid, and whether their account is frozen."""

    user: User
    total_sent: Money
    total_received: Money
    frozen: bool


class UserChanged(Answer):
    """The player as they are now."""

    message: str
    user: User
    frozen: bool


class Transactions(Answer):
    """Transactions, newest first."""

    transactions: list[Transaction]


class AuditLog(Answer):
    """What an organiser did; `hash` covers it and all before it."""

    id: int
    timestamp: datetime
    admin: str
    admin_account: str
    action: str
    target: str
    details: dict[str, Detail]
    hash: str


class AuditLogs(Answer):
    """What organisers did, newest first."""

    logs: list[AuditLog]


class FactionGroup(Answer):
    """A faction, or those without one."""

    faction: str
    user_count: int
    total_balance: Money


class FactionGroups(Answer):
    """The factions by name, and last those without one, as None."""

    factions: list[FactionGroup]


class Credited(Answer):
    """How many players were given the amount; both numbers are the same."""

    message: str
    affected_users: int
    users_affected: int


class SwitchesNow(Answer):
    """How the bank is switched."""

    read_only: bool
    registration: RegistrationMode
    event_code: str | None


class Stats(Answer):
    """The bank as a whole: `total` sums all balances, to 0 always; active is who was seen within the hour."""

    money_supply: Money
    house_balance: Money
    total: Money
    rounds: int
    players: int
    active_players: int
    sessions: int
    last_transaction_id: int
