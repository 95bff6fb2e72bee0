"""The organisers' list of factions, and creation of a faction."""

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import Connection, text
from sqlalchemy.dialects.postgresql import insert

from neobank import names
from neobank.admin.money import NO_FACTION
from neobank.errors import BankError
from neobank.players.models import Faction


@dataclass(frozen=True, slots=True)
class Group:
    """The players of a faction, or those without one: their number and their total balance, in hundredths."""

    faction: str
    user_count: int
    total_balance: int


_GROUPS = text("""
    SELECT coalesce(groups.name, :none), count(players.account_id), coalesce(sum(held.balance), 0)::bigint
    FROM (SELECT name FROM factions UNION ALL SELECT NULL) AS groups
        LEFT JOIN players ON players.faction IS NOT DISTINCT FROM groups.name
        LEFT JOIN LATERAL (
            SELECT sum(balance) AS balance FROM balances WHERE account_id = players.account_id
        ) AS held ON true
    GROUP BY groups.name ORDER BY groups.name NULLS LAST
""")


def groups(connection: Connection) -> Sequence[Group]:
    """List the factions by name, then the group of the players without a faction."""
    return [Group(*row) for row in connection.execute(_GROUPS, {"none": NO_FACTION})]


def create(connection: Connection, name: str, description: str | None) -> None:
    """Create a faction. Raise BankError if a faction has an equal name or one that looks alike (see `names`)."""
    values = {
        "name": name,
        "name_key": names.key(name),
        "skeleton": names.skeleton(name),
        "description": description,
    }
    created = connection.execute(insert(Faction).values(values).on_conflict_do_nothing().returning(Faction.name))
    if created.one_or_none() is None:
        raise BankError(
            f"A faction with the name {name} or one that looks like it exists already: choose another name."
        )
