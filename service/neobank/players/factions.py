"""The factions, and the number of players in each."""

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import Connection, func, select

from neobank import names
from neobank.errors import BankError
from neobank.players.models import Faction, Player


class UnknownFaction(BankError):
    """No faction has this name."""


@dataclass(frozen=True, slots=True)
class Membership:
    """A faction and how many players belong to it."""

    name: str
    member_count: int


def recognise(connection: Connection, name: str) -> str:
    """Return the stored name of the faction with an equal `names.key`. Raise UnknownFaction if there is none."""
    rows = connection.execute(select(Faction.name_key, Faction.name).order_by(Faction.name))
    known = dict(rows.all())
    found = known.get(names.key(name))
    if found is None:
        raise UnknownFaction(f"There is no faction {name}: choose one of {', '.join(known.values())}.")
    return found


def memberships(connection: Connection) -> Sequence[Membership]:
    """List the factions by name."""
    statement = (
        select(Faction.name, func.count(Player.account_id))
        .outerjoin(Player, Player.faction == Faction.name)
        .group_by(Faction.name)
        .order_by(Faction.name)
    )
    return [Membership(*row) for row in connection.execute(statement)]
