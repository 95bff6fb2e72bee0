"""Import of players from a CSV list: all of them or none, each with a one-time password."""

import csv
import hmac
import io
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

from sqlalchemy import Connection, insert, select, text
from sqlalchemy.exc import IntegrityError

from neobank import names
from neobank.errors import BankError
from neobank.ledger.models import SYSTEM_ID
from neobank.ledger.money import parse_amount
from neobank.ledger.operations import Kind, NameTaken, NewTransfer, new_number, pay_many, violated_constraint
from neobank.players.models import MAX_FACTION, Faction, Player
from neobank.players.operations import opening_balance
from neobank.players.passwords import one_time
from neobank.web.requests import Answer

MAX_LINES = 2_000
COLUMNS = ("name", "faction", "opening_balance")
MAX_REPORTED = 50
"""The largest number of invalid lines that one error message names."""


@dataclass(frozen=True, slots=True)
class Row:
    """A valid line of the list; the opening balance is in hundredths, or None if the line has none."""

    line: int
    name: str
    faction: str | None
    opening_balance: int | None


@dataclass(frozen=True, slots=True)
class PlayerList:
    """A parsed list: the valid lines, and the problem of each invalid line by its number."""

    rows: Sequence[Row]
    problems: Mapping[int, str]


class Imported(Answer):
    """A player who was just created."""

    name: str
    account_number: str


class ImportRecord(Answer):
    """The players of an import, as its Idempotency-Key keeps them: from it, only the bank can derive the passwords."""

    salt: str
    check: str
    players: list[Imported]


@dataclass(frozen=True, slots=True)
class OneTimePasswords:
    """The one-time passwords of an import: derived from a random salt and the bank's secret key, never stored."""

    salt: str
    seed: bytes

    @classmethod
    def new(cls, secret_key: bytes) -> "OneTimePasswords":
        """Return the passwords of a new import."""
        return cls.of(secrets.token_hex(16), secret_key)

    @classmethod
    def of(cls, salt: str, secret_key: bytes) -> "OneTimePasswords":
        """Return the passwords of the import with this salt."""
        return cls(salt, hmac.digest(secret_key, f"one-time passwords of import {salt}".encode(), "sha256"))

    @classmethod
    def of_record(cls, record: ImportRecord, secret_key: bytes) -> "OneTimePasswords":
        """Return the passwords of a recorded import. Raise PasswordsLost if its secret key was another one."""
        found = cls.of(record.salt, secret_key)
        if not hmac.compare_digest(found.check, record.check):
            raise PasswordsLost(
                "These players exist already, but their one-time passwords can't be shown again, because SECRET_KEY was"
                " replaced: reset their passwords."
            )
        return found

    @property
    def check(self) -> str:
        """A text that is the same for the same salt and secret key, and discloses no password."""
        return hmac.digest(self.seed, b"check", "sha256").hex()

    def password(self, index: int) -> str:
        """Return the password of the player with this index in the list."""
        return one_time(self.seed, index)


class PasswordsLost(BankError):
    """The passwords of a recorded import cannot be derived any more."""

    status: ClassVar[int] = 409


_TAKEN_KEYS = text("SELECT name_key FROM accounts WHERE name_key = ANY (CAST(:keys AS text[]))")
_TAKEN_SKELETONS = text("SELECT skeleton FROM accounts WHERE skeleton = ANY (CAST(:skeletons AS text[]))")
_OPEN_ACCOUNTS = text("""
    SELECT open_account(number, name, name_key, skeleton), number, name_key
    FROM unnest(
        CAST(:numbers AS text[]), CAST(:names AS text[]), CAST(:keys AS text[]), CAST(:skeletons AS text[])
    ) AS line (number, name, name_key, skeleton)
""")


def parse(content: str) -> PlayerList:
    """Parse a CSV list whose first line names its columns: `name`, and optionally `faction` and `opening_balance`.

    Raise BankError if the text is not such a list, or does not contain 1 to MAX_LINES players.
    """
    try:
        reader = csv.DictReader(io.StringIO(content.removeprefix("\ufeff"), newline=""), strict=True)
        columns = [column.strip().lower().replace(" ", "_") for column in reader.fieldnames or []]
        reader.fieldnames = columns
        if "name" not in columns or len(set(columns)) < len(columns) or not set(columns) <= set(COLUMNS):
            raise BankError(f"The first line must name the columns: name, and optionally {' and '.join(COLUMNS[1:])}.")
        return _parse_lines(reader)
    except csv.Error as error:
        raise BankError(f"The list is not CSV: {error}.") from None


def _parse_lines(reader: "csv.DictReader[str]") -> PlayerList:
    """Parse one line at a time: a small file may have very many lines, and a parsed line is much larger than its text.

    Raise BankError if there are not 1 to MAX_LINES players, csv.Error if a line is not CSV.
    """
    rows, problems = list[Row](), dict[int, str]()
    for count, line in enumerate(reader, 1):
        if count > MAX_LINES:
            raise BankError(f"The list has more than {MAX_LINES} players: divide it.")
        try:
            rows.append(_row(reader.line_num, line))
        except ValueError as error:
            problems[reader.line_num] = str(error)
    if not rows and not problems:
        raise BankError(f"The list has 0 players: send 1 to {MAX_LINES}.")
    return PlayerList(rows, problems)


def create(connection: Connection, listed: PlayerList, password_hashes: Sequence[str]) -> list[Imported]:
    """Create the players with their opening balances, all of them or none.

    `password_hashes` contains the hash of the one-time password of each row.
    Raise BankError, which names each invalid line and its problem, or what `pay_many` raises; the transaction must
    then be rolled back.
    """
    rows = listed.rows
    factions = dict(connection.execute(select(Faction.name_key, Faction.name)).all())
    keys = [names.key(row.name) for row in rows]
    _reject({**listed.problems, **_conflicts(connection, rows, keys, factions)})
    opened = _open_accounts(connection, rows, keys)
    connection.execute(
        insert(Player),
        [
            {
                "account_id": opened[key][0],
                "password_hash": password_hash,
                "faction": factions[names.key(row.faction)] if row.faction else None,
                "must_change_password": True,
            }
            for row, key, password_hash in zip(rows, keys, password_hashes, strict=True)
        ],
    )
    usual = opening_balance(connection)
    balances = [usual if row.opening_balance is None else row.opening_balance for row in rows]
    transfers = [
        NewTransfer(SYSTEM_ID, opened[key][0], balance) for balance, key in zip(balances, keys, strict=True) if balance
    ]
    if transfers:
        pay_many(connection, transfers, kind=Kind.OPENING_BALANCE, memo="Opening balance", actor=SYSTEM_ID)
    return [Imported(name=row.name, account_number=opened[key][1]) for row, key in zip(rows, keys, strict=True)]


def _row(number: int, line: Mapping[str | None, str | list[str] | None]) -> Row:
    if None in line:
        raise ValueError("the line has more cells than the first line.")
    name, faction, opening = (str(line.get(column) or "").strip() for column in COLUMNS)
    if any("\x00" in cell for cell in (name, faction)):
        raise ValueError("a cell contains a NUL character.")
    balance = None
    if opening:
        balance = 0 if opening in {"0", "0.0", "0.00"} else parse_amount(opening)
    if len(faction) > MAX_FACTION:
        raise ValueError(f"a faction's name has at most {MAX_FACTION} characters.")
    return Row(number, names.tidy(name), faction or None, balance)


def _conflicts(
    connection: Connection, rows: Sequence[Row], keys: Sequence[str], factions: Mapping[str, str]
) -> dict[int, str]:
    skeletons = [names.skeleton(row.name) for row in rows]
    taken = set(connection.execute(_TAKEN_KEYS, {"keys": list(keys)}).scalars())
    alike = set(connection.execute(_TAKEN_SKELETONS, {"skeletons": skeletons}).scalars())
    problems, seen = dict[int, str](), dict[str, int]()
    for row, key, skeleton in zip(rows, keys, skeletons, strict=True):
        conflicts = []
        if key in taken:
            conflicts.append(f"the name {row.name} is taken")
        elif skeleton in alike:
            conflicts.append(f"the name {row.name} looks like the name of another account")
        if skeleton in seen:
            conflicts.append(f"the name {row.name}, or one that looks like it, is already in line {seen[skeleton]}")
        if row.faction and names.key(row.faction) not in factions:
            conflicts.append(f"there is no faction {row.faction}")
        if conflicts:
            problems[row.line] = f"{' and '.join(conflicts)}."
        seen.setdefault(skeleton, row.line)
    return problems


def _open_accounts(connection: Connection, rows: Sequence[Row], keys: Sequence[str]) -> dict[str, tuple[int, str]]:
    """Open the accounts in one statement; return id and number of each, by name key."""
    columns = {
        "numbers": [new_number() for _ in rows],
        "names": [row.name for row in rows],
        "keys": list(keys),
        "skeletons": [names.skeleton(row.name) for row in rows],
    }
    try:
        return {key: (account_id, number) for account_id, number, key in connection.execute(_OPEN_ACCOUNTS, columns)}
    except IntegrityError as error:
        if violated_constraint(error) in {"accounts_name_key_key", "accounts_skeleton_key"}:
            raise NameTaken("One of the names has just been taken: send the list again.") from error
        raise


def _reject(problems: Mapping[int, str]) -> None:
    if problems:
        lines = [f"Line {line}: {problem}" for line, problem in sorted(problems.items())]
        more = f" And {len(lines) - MAX_REPORTED} more lines." if len(lines) > MAX_REPORTED else ""
        raise BankError("No player was created. " + " ".join(lines[:MAX_REPORTED]) + more)
