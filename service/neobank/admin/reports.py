"""What organisers read: all transactions, all players, the bank as a whole."""

import csv
import io
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from sqlalchemy import Connection, select, text

from neobank.ledger.models import Account, Transfer
from neobank.ledger.money import to_number
from neobank.ledger.operations import Entry, entries
from neobank.players.operations import Profile, profiles

MAX_OFFSET = 1_000_000

_FORMULA = ("=", "+", "-", "@", "\t", "\r")
_COLUMNS = ("Character Name", "Account Number", "Balance", "Faction", "Is Admin", "Created At")


@dataclass(frozen=True, slots=True)
class Stats:
    """The bank as a whole; amounts in hundredths. `total` is the sum of all balances: 0, always."""

    money_supply: int
    house_balance: int
    total: int
    rounds: int
    players: int
    active_players: int
    sessions: int
    last_transaction_id: int


_STATS = text("""
    SELECT money_supply, house_balance, total, (SELECT count(*) FROM rounds), (SELECT count(*) FROM players),
        (SELECT count(DISTINCT account_id) FROM sessions WHERE last_seen_at > now() - interval '1 hour'),
        (SELECT count(*) FROM sessions WHERE expires_at > now()), (SELECT coalesce(max(id), 0) FROM transfers)
    FROM ledger_figures
""")


def transactions(connection: Connection, *, limit: int, offset: int) -> Sequence[Entry]:
    """List all transfers, newest first, after leaving out `offset` of them."""
    page = select(Transfer.__table__).order_by(Transfer.id.desc()).limit(limit).offset(offset).subquery()
    return [Entry(*row) for row in connection.execute(entries(page).order_by(page.c.id.desc()))]


def stats(connection: Connection) -> Stats:
    """Look at the bank as a whole; active is who was seen within the hour."""
    return Stats(*connection.execute(_STATS).one())


def players(connection: Connection) -> Sequence[Profile]:
    """List all players by name."""
    return [Profile(*row) for row in connection.execute(profiles().order_by(Account.name_key))]


def as_csv(found: Iterable[Profile]) -> str:
    """Write players as CSV; no cell is a formula for a spreadsheet."""
    return write_csv(
        _COLUMNS,
        (
            (
                player.character_name,
                player.account_number,
                f"{to_number(player.balance):.2f}",
                player.faction or "",
                str(player.is_admin),
                player.created_at.isoformat(),
            )
            for player in found
        ),
    )


def write_csv(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Write CSV; a cell that a spreadsheet would compute gets an apostrophe in front."""
    written = io.StringIO()
    writer = csv.writer(written)
    writer.writerow(columns)
    writer.writerows([f"'{cell}" if cell.startswith(_FORMULA) else cell for cell in row] for row in rows)
    return written.getvalue()
