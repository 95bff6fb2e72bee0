"""Players from a list: all of them or none, each with a password for one time."""

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sqlalchemy import Connection, insert, select, text
from sqlalchemy.exc import IntegrityError

from neobank import names
from neobank.errors import BankError
from neobank.ledger.models import SYSTEM_ID
from neobank.ledger.money import parse_amount
from neobank.ledger.operations import Kind, NameTaken, NewTransfer, new_number, pay_many, violated_constraint
from neobank.players.models import Faction, Player
from neobank.players.operations import OPENING_BALANCE

MAX_LINES = 2_000
COLUMNS = ("name", "faction", "opening_balance")
MAX_NAMED = 50
"""How many bad lines are named in one answer."""


@dataclass(frozen=True, slots=True)
class Row:
    """A line of the list; the opening balance is in hundredths."""

    line: int
    name: str
    faction: str | None
    opening_balance: int


@dataclass(frozen=True, slots=True)
class PlayerList:
    """A list as it was read: its good lines, and what is wrong with each of the others, by their number."""

    rows: Sequence[Row]
    problems: Mapping[int, str]


@dataclass(frozen=True, slots=True)
class Imported:
    """A player who was just created, and how they get in the first time."""

    name: str
    account_number: str
    password: str


_TAKEN = text("SELECT name_key FROM accounts WHERE name_key = ANY (CAST(:keys AS text[]))")
_OPEN = text(
    "SELECT open_account(number, name, name_key), number, name_key FROM unnest("
    "CAST(:numbers AS text[]), CAST(:names AS text[]), CAST(:keys AS text[])) AS line (number, name, name_key)"
)


def read(content: str) -> PlayerList:
    """Read a list whose first line names its columns: name, and perhaps faction and opening_balance.

    Raises BankError for what is no such list.
    """
    try:
        reader = csv.DictReader(io.StringIO(content.removeprefix("\ufeff"), newline=""), strict=True)
        columns = [column.strip().lower().replace(" ", "_") for column in reader.fieldnames or []]
        reader.fieldnames = columns
        if "name" not in columns or len(set(columns)) < len(columns) or not set(columns) <= set(COLUMNS):
            raise BankError(f"The first line names the columns: name, and perhaps {' and '.join(COLUMNS[1:])}.")
        found = [(reader.line_num, line) for line in reader]
    except csv.Error as error:
        raise BankError(f"This is not CSV: {error}.") from None
    if not 1 <= len(found) <= MAX_LINES:
        raise BankError(f"The list has {len(found)} players: it takes 1 to {MAX_LINES}.")
    rows, problems = [], dict[int, str]()
    for number, line in found:
        try:
            rows.append(_row(number, line))
        except ValueError as error:
            problems[number] = str(error)
    return PlayerList(rows, problems)


def create(connection: Connection, listed: PlayerList, passwords: Sequence[tuple[str, str]]) -> list[Imported]:
    """Create the players, with their money, as one; each has a one-time password, which comes with its hash.

    Raises BankError, which names each bad line and what is wrong with it; nothing was done then, and the transaction
    has to be rolled back.
    """
    rows = listed.rows
    factions = dict(connection.execute(select(Faction.name_key, Faction.name)).all())
    keys = [names.key(row.name) for row in rows]
    _refuse({**listed.problems, **_conflicts(connection, rows, keys, factions)})
    opened = _open(connection, rows, keys)
    connection.execute(
        insert(Player),
        [
            {
                "account_id": opened[key][0],
                "password_hash": kept,
                "faction": factions[names.key(row.faction)] if row.faction else None,
                "must_change_password": True,
            }
            for row, key, (_, kept) in zip(rows, keys, passwords, strict=True)
        ],
    )
    moves = [NewTransfer(SYSTEM_ID, opened[key][0], row.opening_balance) for row, key in zip(rows, keys, strict=True)]
    paid = [move for move in moves if move.amount]
    if paid:
        pay_many(connection, paid, kind=Kind.OPENING_BALANCE, memo="Opening balance", actor=SYSTEM_ID)
    return [
        Imported(row.name, opened[key][1], secret) for row, key, (secret, _) in zip(rows, keys, passwords, strict=True)
    ]


def _row(number: int, line: Mapping[str | None, str | list[str] | None]) -> Row:
    if None in line:
        raise ValueError("it has more cells than the first line.")
    name, faction, opening = (str(line.get(column) or "").strip() for column in COLUMNS)
    if any("\x00" in cell for cell in (name, faction)):
        raise ValueError("a text has no NUL character.")
    balance = OPENING_BALANCE
    if opening:
        balance = 0 if opening in {"0", "0.0", "0.00"} else parse_amount(opening)
    return Row(number, names.tidy(name), faction or None, balance)


def _conflicts(
    connection: Connection, rows: Sequence[Row], keys: Sequence[str], factions: Mapping[str, str]
) -> dict[int, str]:
    taken = set(connection.execute(_TAKEN, {"keys": list(keys)}).scalars())
    problems, seen = dict[int, str](), dict[str, int]()
    for row, key in zip(rows, keys, strict=True):
        wrong = []
        if key in taken:
            wrong.append(f"the name {row.name} is taken")
        if key in seen:
            wrong.append(f"the name {row.name} stands in line {seen[key]} already")
        if row.faction and names.key(row.faction) not in factions:
            wrong.append(f"there is no faction {row.faction}")
        if wrong:
            problems[row.line] = f"{' and '.join(wrong)}."
        seen.setdefault(key, row.line)
    return problems


def _open(connection: Connection, rows: Sequence[Row], keys: Sequence[str]) -> dict[str, tuple[int, str]]:
    """Open the accounts in one statement; gives id and number by name key."""
    columns = {"numbers": [new_number() for _ in rows], "names": [row.name for row in rows], "keys": list(keys)}
    try:
        return {key: (account_id, number) for account_id, number, key in connection.execute(_OPEN, columns)}
    except IntegrityError as error:
        if violated_constraint(error) == "accounts_name_key_key":
            raise NameTaken("One of the names has just been taken: send the list again.") from error
        raise


def _refuse(problems: Mapping[int, str]) -> None:
    if problems:
        named = [f"Line {line}: {wrong}" for line, wrong in sorted(problems.items())]
        more = f" And {len(named) - MAX_NAMED} more." if len(named) > MAX_NAMED else ""
        raise BankError("Nobody was created. " + " ".join(named[:MAX_NAMED]) + more)
