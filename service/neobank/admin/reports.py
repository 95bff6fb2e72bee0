"""The organisers' reports: all transactions, all players, statistics of the whole bank."""

import csv
import io
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from sqlalchemy import Connection, select, text

from neobank.ledger.models import Account, Transfer
from neobank.ledger.money import to_number
from neobank.ledger.operations import Entry, entries
from neobank.players.operations import Profile, profiles

MAX_OFFSET = 1_000_000

# The start of a cell, also where a spreadsheet that separates cells at semicolons or tabs would start one.
_FORMULA = re.compile(r"(^|[;\t\r\n])(?=[=+\-@\t\r])")
_COLUMNS = ("Character Name", "Account Number", "Balance", "Faction", "Is Admin", "Created At")


@dataclass(frozen=True, slots=True)
class Stats:
    """Statistics of the whole bank; amounts are in hundredths.

    `total` is the sum of all balances, which is always 0. `active_players` used a session within the last hour;
    `sessions` have not expired.
    """

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
    """List at most `limit` transfers, newest first, after skipping `offset` of them."""
    page = select(Transfer.__table__).order_by(Transfer.id.desc()).limit(limit).offset(offset).subquery()
    return [Entry(*row) for row in connection.execute(entries(page).order_by(page.c.id.desc()))]


def stats(connection: Connection) -> Stats:
    """Compute the statistics of the whole bank."""
    return Stats(*connection.execute(_STATS).one())


def players(connection: Connection) -> Sequence[Profile]:
    """List all players by name."""
    return [Profile(*row) for row in connection.execute(profiles().order_by(Account.name_key))]


def as_csv(exported: Iterable[Profile]) -> str:
    """Return players as CSV, with a header line."""
    return write_csv(
        _COLUMNS,
        (
            (
                player.character_name,
                player.account_number,
                f"{to_number(player.balance):.2f}",
                player.faction or "None",
                "Yes" if player.is_admin else "No",
                player.created_at.isoformat(),
            )
            for player in exported
        ),
    )


def write_csv(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return CSV with every cell in quotes. An apostrophe precedes what a spreadsheet would evaluate as a formula."""
    output = io.StringIO()
    writer = csv.writer(output, quoting=csv.QUOTE_ALL)
    writer.writerow(columns)
    writer.writerows([_FORMULA.sub(r"\1'", cell) for cell in row] for row in rows)
    return output.getvalue()
