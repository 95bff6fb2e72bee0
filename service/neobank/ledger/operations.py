"""What can be done with money: open an account, move an amount, read a balance and a history.

Amounts are hundredths. Every function takes the connection, so that its caller decides what commits together.
"""

import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from sqlalchemy import (
    Boolean,
    ColumnElement,
    Connection,
    Select,
    SQLColumnExpression,
    Subquery,
    bindparam,
    column,
    func,
    select,
    text,
    tuple_,
    union_all,
)
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import InstrumentedAttribute, aliased

from neobank.errors import BankError, Forbidden
from neobank.ledger import movements
from neobank.ledger.models import Account, Balance, Transfer
from neobank.ledger.money import format_amount

NUMBER_ALPHABET = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"

MAX_BIGINT = 2**63 - 1
"""The largest value of a bigint column, and so of an id."""


class Kind(StrEnum):
    """Why money moved."""

    TRANSFER = "transfer"
    OPENING_BALANCE = "opening_balance"
    VENDOR_CHARGE = "vendor_charge"
    REFUND = "refund"
    ADMIN_ADJUSTMENT = "admin_adjustment"
    REVERSAL = "reversal"
    CASINO_BET = "casino_bet"
    CASINO_WIN = "casino_win"


@dataclass(frozen=True, slots=True)
class Entry:
    """A transfer as its readers see it; the amount is in hundredths."""

    id: int
    from_account: str
    from_name: str
    to_account: str
    to_name: str
    amount: int
    memo: str
    created_at: datetime
    kind: str


@dataclass(frozen=True, slots=True)
class NewTransfer:
    """One of many transfers that are made as one: the ids of two accounts and an amount in hundredths."""

    debit: int
    credit: int
    amount: int


@dataclass(frozen=True, slots=True)
class PostedTransfer:
    """A transfer that was just made, and what the payer has left, in hundredths."""

    transfer_id: int
    created_at: datetime
    debit_balance: int
    credit_number: str
    credit_name: str


class InsufficientFunds(BankError):
    """The payer has less than the amount."""


class BalanceLimit(BankError):
    """The receiver would have more than an account can hold."""


class UnknownAccount(BankError):
    """No account has this number."""


class SameAccount(BankError):
    """An account can't pay itself."""


class ReadOnly(Forbidden):
    """The organisers have stopped all money."""

    def __init__(self) -> None:
        super().__init__("The bank is read-only right now: the organisers have stopped all money for a while.")


class AccountFrozen(Forbidden):
    """The organisers have frozen the account; functions/ledger.sql defines what it may still do."""

    def __init__(self) -> None:
        super().__init__("The organisers have frozen this account. Contact an organiser.")


class NameTaken(BankError):
    """Another account has this name, or one that reads the same."""


_POST = select(
    func.post_payment(
        *(bindparam(name) for name in ("debit", "number", "amount", "kind", "memo", "actor"))
    ).table_valued("transfer_id", "posted_at", "debit_balance", "credit_name")
)


def pay(
    connection: Connection, *, debit: int, credit_number: str, amount: int, kind: Kind, memo: str, actor: int
) -> PostedTransfer:
    """Move an amount in one statement.

    Raises InsufficientFunds, BalanceLimit, UnknownAccount, SameAccount, AccountFrozen or ReadOnly; nothing has moved
    then, and the transaction has to be rolled back.
    """
    values = {"debit": debit, "number": credit_number, "amount": amount, "kind": kind, "memo": memo, "actor": actor}
    try:
        transfer_id, created_at, debit_balance, credit_name = connection.execute(_POST, values).one()
    except IntegrityError as error:
        raise refusal(error, amount) from error
    if transfer_id is None:
        raise UnknownAccount(f"No account has the number {credit_number}.")
    movements.note(connection, movements.Movement(kind, 1, amount))
    return PostedTransfer(transfer_id, created_at, debit_balance, credit_number, credit_name)


_POST_MANY = text("SELECT post_transfers(:debits, :credits, :amounts, :kind, :memo, :actor)")


def pay_many(connection: Connection, transfers: Sequence[NewTransfer], *, kind: Kind, memo: str, actor: int) -> None:
    """Make many transfers as one, in one statement: what counts is what they come to for each account.

    Raises what `pay` raises but for UnknownAccount; nothing has moved then, and the transaction has to be rolled back.
    """
    values = {
        "debits": [transfer.debit for transfer in transfers],
        "credits": [transfer.credit for transfer in transfers],
        "amounts": [transfer.amount for transfer in transfers],
        "kind": kind,
        "memo": memo,
        "actor": actor,
    }
    try:
        connection.execute(_POST_MANY, values)
    except IntegrityError as error:
        raise refusal(error, max(transfer.amount for transfer in transfers)) from error
    movements.note(connection, movements.Movement(kind, len(transfers), sum(transfer.amount for transfer in transfers)))


def refusal(error: IntegrityError, amount: int) -> BankError:
    """Say why the database refused to move an amount (hundredths). Raises the error where it is none of these."""
    match violated_constraint(error):
        case "balance_not_below_floor":
            return InsufficientFunds(f"There is less than {format_amount(amount)} in the account.")
        case "balance_within_bounds":
            return BalanceLimit(f"The receiving account can't hold {format_amount(amount)} more.")
        case "transfer_between_two":
            return SameAccount("An account can't pay itself.")
        case "bank_not_read_only":
            return ReadOnly()
        case "account_not_frozen":
            return AccountFrozen()
    raise error


def violated_constraint(error: IntegrityError) -> str | None:
    """Name the constraint that the database refused to break."""
    diagnostics = getattr(error.orig, "diag", None)
    return getattr(diagnostics, "constraint_name", None)


def open_account(connection: Connection, *, name: str, name_key: str) -> int:
    """Open an account with nothing in it, and give its id. Raises NameTaken."""
    statement = select(func.open_account(bindparam("number"), bindparam("name"), bindparam("name_key")))
    try:
        account_id: int = connection.execute(
            statement, {"number": new_number(), "name": name, "name_key": name_key}
        ).scalar_one()
    except IntegrityError as error:
        if violated_constraint(error) == "accounts_name_key_key":
            raise NameTaken(f"The name {name} is taken.") from error
        raise
    return account_id


def new_number() -> str:
    """Draw an account number; that no other account has it, the database sees to."""
    drawn = "".join(secrets.choice(NUMBER_ALPHABET) for _ in range(8))
    return f"NC-{drawn[:4]}-{drawn[4:]}"


def may_act() -> ColumnElement[bool]:
    """Return the SQL condition that a row of `accounts` may log in and use its sessions and keys."""
    return func.may_act(column(Account.__tablename__), type_=Boolean())


def balance_of(account_id: SQLColumnExpression[int]) -> ColumnElement[int]:
    """Give the balance of an account, over its shards, as part of a larger query."""
    return select(func.sum(Balance.balance)).where(Balance.account_id == account_id).scalar_subquery()


def history(connection: Connection, account_id: int, *, limit: int, before: int | None = None) -> Sequence[Entry]:
    """List an account's transfers, newest first, at most `limit`, of those older than transfer `before`."""
    sides = [
        _newest(Transfer.debit_account_id, account_id, limit, before),
        _newest(Transfer.credit_account_id, account_id, limit, before),
    ]
    newest = union_all(*sides).subquery()
    statement = entries(newest).order_by(newest.c.id.desc()).limit(limit)
    return [Entry(*row) for row in connection.execute(statement)]


def entry(connection: Connection, transfer_id: int) -> Entry | None:
    """Look up a transfer."""
    wanted = select(Transfer.__table__).where(Transfer.id == transfer_id).subquery()
    row = connection.execute(entries(wanted)).one_or_none()
    return None if row is None else Entry(*row)


def entries(transfers: Subquery) -> Select[int, str, str, str, str, int, str, datetime, str]:
    """Give what an Entry is made of, for a query's transfers."""
    payer, receiver = aliased(Account), aliased(Account)
    return (
        select(
            transfers.c.id,
            payer.number,
            payer.name,
            receiver.number,
            receiver.name,
            transfers.c.amount,
            transfers.c.memo,
            transfers.c.created_at,
            transfers.c.kind,
        )
        .join(payer, payer.id == transfers.c.debit_account_id)
        .join(receiver, receiver.id == transfers.c.credit_account_id)
    )


def _newest(side: InstrumentedAttribute[int], account_id: int, limit: int, before: int | None) -> Select[Transfer]:
    # Ordered and bounded by both columns of the side's index, so that the planner can take no other: by `id` alone it
    # may read the table backwards, and for an account that has long been idle that is the whole table.
    last = (account_id, MAX_BIGINT if before is None else before)
    newest = (
        select(Transfer.__table__)
        .where(side >= account_id, tuple_(side, Transfer.id) < last)
        .order_by(side.desc(), Transfer.id.desc())
        .limit(limit)
    )
    return select(newest.subquery())
