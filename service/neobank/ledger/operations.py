"""The operations of the ledger: open an account, move an amount, read a balance and a history.

Amounts are in hundredths of ¤. Every function takes a connection, so that the caller decides what a transaction
contains.
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
"""The characters of account numbers: digits and capitals without I, L, O and U."""

MAX_BIGINT = 2**63 - 1
"""The largest value of a bigint column, and therefore of an id."""


class Kind(StrEnum):
    """The kind of a transfer."""

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
    """A transfer with the numbers and names of both accounts, as a history shows it; the amount is in hundredths."""

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
    """A transfer to be posted by `pay_many`: the ids of two accounts and an amount in hundredths."""

    debit: int
    credit: int
    amount: int


@dataclass(frozen=True, slots=True)
class PostedTransfer:
    """A transfer that was just posted, and the payer's new balance in hundredths."""

    transfer_id: int
    created_at: datetime
    debit_balance: int
    credit_number: str
    credit_name: str


class InsufficientFunds(BankError):
    """The payer's balance is less than the amount."""


class BalanceLimit(BankError):
    """The receiver's balance would exceed MAX_BALANCE."""


class UnknownAccount(BankError):
    """No account has this number."""


class SameAccount(BankError):
    """The payer and the receiver are the same account."""


class ReadOnly(Forbidden):
    """The organisers have made the bank read-only."""

    def __init__(self) -> None:
        super().__init__("The bank is read-only: the organisers have stopped all payments. Try again later.")


class AccountFrozen(Forbidden):
    """The account is frozen; functions/ledger.sql defines what it may still do."""

    def __init__(self) -> None:
        super().__init__("The organisers have frozen this account. Contact an organiser.")


class NameTaken(BankError):
    """Another account has this name, one with the same key, or one that looks alike (see neobank.names)."""


_OPEN_ACCOUNT = select(func.open_account(*(bindparam(name) for name in ("number", "name", "name_key", "skeleton"))))
_POST = select(
    func.post_payment(
        *(bindparam(name) for name in ("debit", "number", "amount", "kind", "memo", "actor"))
    ).table_valued("transfer_id", "posted_at", "debit_balance", "credit_name")
)


def pay(
    connection: Connection, *, debit: int, credit_number: str, amount: int, kind: Kind, memo: str, actor: int
) -> PostedTransfer:
    """Move an amount in one statement.

    Raise InsufficientFunds, BalanceLimit, UnknownAccount, SameAccount, AccountFrozen or ReadOnly. Then nothing has
    moved, and the caller must roll back the transaction.
    """
    values = {"debit": debit, "number": credit_number, "amount": amount, "kind": kind, "memo": memo, "actor": actor}
    try:
        transfer_id, created_at, debit_balance, credit_name = connection.execute(_POST, values).one()
    except IntegrityError as error:
        raise refusal(error, amount) from error
    if transfer_id is None:
        raise UnknownAccount(f"No account has the number {credit_number}. Check the number.")
    movements.note(connection, movements.Movement(kind, 1, amount))
    return PostedTransfer(transfer_id, created_at, debit_balance, credit_number, credit_name)


_POST_MANY = text("SELECT post_transfers(:debits, :credits, :amounts, :kind, :memo, :actor)")


def pay_many(connection: Connection, transfers: Sequence[NewTransfer], *, kind: Kind, memo: str, actor: int) -> None:
    """Post many transfers together, in one statement: an account needs money only for its net amount.

    Raise the errors of `pay` except UnknownAccount. Then nothing has moved, and the caller must roll back the
    transaction.
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
    """Translate the database's refusal to move an amount (hundredths) to a BankError. Re-raise an unknown error."""
    match violated_constraint(error):
        case "balance_not_below_floor":
            return InsufficientFunds(f"The account's balance is less than {format_amount(amount)}.")
        case "balance_within_bounds":
            return BalanceLimit(f"With {format_amount(amount)} more, the receiving account would exceed its maximum.")
        case "transfer_between_two":
            return SameAccount("An account can't pay itself. Enter the number of another account.")
        case "bank_not_read_only":
            return ReadOnly()
        case "account_not_frozen":
            return AccountFrozen()
    raise error


def violated_constraint(error: IntegrityError) -> str | None:
    """Return the name of the violated constraint, or None if the error names none."""
    diagnostics = getattr(error.orig, "diag", None)
    return getattr(diagnostics, "constraint_name", None)


def open_account(connection: Connection, *, name: str, name_key: str, skeleton: str) -> int:
    """Open an account with a balance of zero, and return its id. Raise NameTaken if its key or skeleton is in use."""
    values = {"number": new_number(), "name": name, "name_key": name_key, "skeleton": skeleton}
    try:
        account_id: int = connection.execute(_OPEN_ACCOUNT, values).scalar_one()
    except IntegrityError as error:
        match violated_constraint(error):
            case "accounts_name_key_key":
                raise NameTaken(f"The name {name} is taken. Choose another name.") from error
            case "accounts_skeleton_key":
                raise NameTaken(
                    f"The name {name} looks like the name of another account. Choose a name that differs more."
                ) from error
        raise
    return account_id


def new_number() -> str:
    """Return a random account number; a unique constraint of the database rejects one that exists."""
    characters = "".join(secrets.choice(NUMBER_ALPHABET) for _ in range(8))
    return f"NC-{characters[:4]}-{characters[4:]}"


def may_act(alias: str = Account.__tablename__) -> ColumnElement[bool]:
    """Return the SQL condition that an account may log in and use its sessions and keys.

    `alias` is the name by which the query refers to the account's row.
    """
    return func.may_act(column(alias), type_=Boolean())


def balance_of(account_id: SQLColumnExpression[int]) -> ColumnElement[int]:
    """Return the balance of an account, summed over its shards, as a scalar subquery."""
    return select(func.sum(Balance.balance)).where(Balance.account_id == account_id).scalar_subquery()


def history(connection: Connection, account_id: int, *, limit: int, before: int | None = None) -> Sequence[Entry]:
    """Return an account's transfers, newest first: at most `limit`, all older than transfer `before` if it is given."""
    sides = [
        _newest(Transfer.debit_account_id, account_id, limit, before),
        _newest(Transfer.credit_account_id, account_id, limit, before),
    ]
    newest = union_all(*sides).subquery()
    statement = entries(newest).order_by(newest.c.id.desc()).limit(limit)
    return [Entry(*row) for row in connection.execute(statement)]


def entry(connection: Connection, transfer_id: int) -> Entry | None:
    """Return a transfer, or None."""
    transfer = select(Transfer.__table__).where(Transfer.id == transfer_id).subquery()
    row = connection.execute(entries(transfer)).one_or_none()
    return None if row is None else Entry(*row)


def entries(transfers: Subquery) -> Select[int, str, str, str, str, int, str, datetime, str]:
    """Return the query of the fields of an Entry, for the transfers of a subquery."""
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
    # Ordered and bounded by both columns of the index of `side` (debit or credit): only that index provides this order.
    # Ordered by `id` alone, it may read the primary key backwards: for an account that was idle for long, almost the
    # whole table.
    last = (account_id, MAX_BIGINT if before is None else before)
    newest = (
        select(Transfer.__table__)
        .where(side >= account_id, tuple_(side, Transfer.id) < last)
        .order_by(side.desc(), Transfer.id.desc())
        .limit(limit)
    )
    return select(newest.subquery())
