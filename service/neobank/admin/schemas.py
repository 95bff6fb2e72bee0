"""Request and response bodies of the organisers' routes."""

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


def _not_blank(value: str) -> str:
    if not names.key(value):
        raise ValueError("the text must not be blank.")
    return value


def _faction_name(name: str) -> str:
    name = names.tidy(name)
    if any(character in name for character in "/?#"):
        raise ValueError("a faction's name must not contain / ? or #, because URLs contain it.")
    if names.skeleton(name) == names.skeleton(NO_FACTION):
        raise ValueError(f"the name {NO_FACTION} is reserved for the players without a faction.")
    return name


Reason = Annotated[Text, Field(max_length=MAX_MEMO), AfterValidator(_not_blank)]


class UserSearch(Body):
    """The beginning of an account number, of a name, or of a word in a name."""

    q: Annotated[Text, Field(max_length=names.MAX_NAME), AfterValidator(_not_blank)]


class Page(Body):
    """A page of a list: at most `limit` entries after skipping `offset`."""

    limit: Annotated[int, Field(ge=1, le=100)] = 50
    offset: Annotated[int, Field(ge=0, le=MAX_OFFSET)] = 0


class PasswordReset(Body):
    """The new one-time password: it works for one log-in, and must be changed before any other request."""

    new_password: NewPassword


class RoleChange(Body):
    """Whether the player is an organiser from now on; without `is_admin`, the current role changes to the other one."""

    is_admin: Maybe[StrictBool] = None


class Adjustment(Body):
    """The amount to add, or to subtract if negative, and the reason, which the player can read."""

    amount: SignedAmount
    reason: Reason


class ReversalReason(Body):
    """The reason, which both players can read."""

    reason: Reason


class Credit(Body):
    """The amount for each member, and the reason, which the members can read."""

    amount: Amount
    reason: Reason


class NewFaction(Body):
    """A faction to create."""

    name: Annotated[Text, Field(max_length=MAX_FACTION), AfterValidator(_faction_name)]
    description: Maybe[Annotated[Text, Field(max_length=500)]] = None


class SwitchesChange(Body):
    """The switches to change; an omitted field keeps its value. A new event code has at least six characters."""

    read_only: Maybe[StrictBool] = None
    registration: Maybe[RegistrationMode] = None
    event_code: Maybe[Annotated[Text, Field(max_length=MAX_CODE)]] = None


class Users(Answer):
    """Players, ordered by name."""

    users: list[User]


class UserDetail(Answer):
    """A player, the total amounts they ever sent and received, and whether the account is frozen."""

    user: User
    total_sent: Money
    total_received: Money
    frozen: bool


class UserChanged(Answer):
    """The player after the change."""

    message: str
    user: User
    frozen: bool


class Transactions(Answer):
    """Transactions, newest first."""

    transactions: list[Transaction]


class AuditLog(Answer):
    """An organiser's action; `hash` covers it and all earlier actions. `details` is `data` as one line of text."""

    id: int
    timestamp: datetime
    admin: str
    admin_account: str
    action: str
    target: str
    details: str | None
    data: dict[str, Detail]
    hash: str


class AuditLogs(Answer):
    """Organisers' actions, newest first."""

    logs: list[AuditLog]


class FactionGroup(Answer):
    """A faction, or the players without one: number of players, total balance."""

    faction: str
    user_count: int
    total_balance: Money


class FactionGroups(Answer):
    """The factions by name, then the players without a faction, under the name `None`."""

    factions: list[FactionGroup]


class Credited(Answer):
    """The number of credited players; both fields contain the same number."""

    message: str
    affected_users: int
    users_affected: int


class SwitchesNow(Answer):
    """The state of the switches."""

    read_only: bool
    registration: RegistrationMode
    event_code: str | None


class Stats(Answer):
    """Statistics of the whole bank; `total` of all balances is always 0, active players were seen in the last hour."""

    money_supply: Money
    house_balance: Money
    total: Money
    rounds: int
    players: int
    active_players: int
    sessions: int
    last_transaction_id: int
