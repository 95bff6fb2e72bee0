"""Factions, as organisers count and create them."""

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
    """A faction, or those without one: how many they are, and what they hold together in hundredths."""

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
    """List the factions by name, and last those without one."""
    return [Group(*row) for row in connection.execute(_GROUPS, {"none": NO_FACTION})]


def create(connection: Connection, name: str, description: str | None) -> None:
    """Create a faction. Raises BankError where one of this name, or one that reads the same, exists."""
    values = {"name": name, "name_key": names.key(name), "description": description}
    made = connection.execute(insert(Faction).values(values).on_conflict_do_nothing().returning(Faction.name))
    if made.one_or_none() is None:
        raise BankError(f"There is a faction {name} already, or one that reads the same.")
