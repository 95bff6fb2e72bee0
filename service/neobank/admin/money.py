"""Transfers that organisers make: balance adjustments, reversals, credits for a faction.

In every function, `by` is the account id of the organiser, and `reason` becomes the memo.
"""

from collections.abc import Sequence
from typing import ClassVar

from sqlalchemy import ColumnElement, Connection, exists, insert, literal, or_, select
from sqlalchemy.exc import IntegrityError

from neobank.admin.users import Subject
from neobank.errors import BankError, NotFound
from neobank.ledger.models import SYSTEM_ID, SYSTEM_NUMBER, Account, Reversal, Transfer
from neobank.ledger.money import format_amount
from neobank.ledger.operations import (
    Entry,
    InsufficientFunds,
    Kind,
    NewTransfer,
    balance_of,
    entry,
    pay,
    pay_many,
    violated_constraint,
)
from neobank.players.factions import recognise
from neobank.players.models import Player
from neobank.vendors.models import Charge

NO_FACTION = "None"
"""The name under which organisers address the players without a faction."""


class AlreadyUndone(BankError):
    """The transfer has been reversed or refunded, or is itself a reversal or a refund."""

    status: ClassVar[int] = 409


def adjust(connection: Connection, subject: Subject, *, amount: int, reason: str, by: int) -> Entry:
    """Transfer an amount (hundredths) from SYSTEM to an account, or from the account to SYSTEM if it is negative.

    Raise InsufficientFunds, which states the balance, or what `pay` raises.
    """
    if amount < 0:
        _check_funds(connection, subject.account_id, -amount)
    debit, credit = (SYSTEM_ID, subject.number) if amount > 0 else (subject.account_id, SYSTEM_NUMBER)
    posted = pay(
        connection,
        debit=debit,
        credit_number=credit,
        amount=abs(amount),
        kind=Kind.ADMIN_ADJUSTMENT,
        memo=reason,
        actor=by,
    )
    return _entry(connection, posted.transfer_id)


def reverse(connection: Connection, transfer_id: int, *, reason: str, by: int) -> Entry:
    """Reverse a transfer by the opposite transfer, at most once.

    Raise NotFound, AlreadyUndone, InsufficientFunds, which states the missing amount, or what `pay` raises; the
    transaction must then be rolled back.
    """
    statement = (
        select(Transfer.credit_account_id, Transfer.amount, Account.number)
        .join(Account, Account.id == Transfer.debit_account_id)
        .where(Transfer.id == transfer_id)
    )
    row = connection.execute(statement).one_or_none()
    if row is None:
        raise NotFound(f"There is no transaction {transfer_id}.")
    receiver, amount, payer_number = row
    _refuse_undone(connection, transfer_id)
    _check_funds(connection, receiver, amount)
    posted = pay(
        connection,
        debit=receiver,
        credit_number=payer_number,
        amount=amount,
        kind=Kind.REVERSAL,
        memo=reason,
        actor=by,
    )
    try:
        connection.execute(insert(Reversal).values(transfer_id=transfer_id, reversal_id=posted.transfer_id))
    except IntegrityError as error:
        if violated_constraint(error) == "reversals_pkey":
            raise AlreadyUndone(f"Transaction {transfer_id} has been reversed already.") from error
        raise
    return _entry(connection, posted.transfer_id)


def credit_faction(connection: Connection, name: str, *, amount: int, reason: str, by: int) -> int:
    """Transfer an amount (hundredths) from SYSTEM to each member of a faction, and return the number of members.

    All members are credited, or none. NO_FACTION names the players without a faction. Raise NotFound if there is no
    such faction, or what `pay_many` raises.
    """
    members = _members(connection, name)
    if members:
        transfers = [NewTransfer(SYSTEM_ID, member, amount) for member in members]
        pay_many(connection, transfers, kind=Kind.ADMIN_ADJUSTMENT, memo=reason, actor=by)
    return len(members)


def _members(connection: Connection, name: str) -> Sequence[int]:
    condition: ColumnElement[bool] = Player.faction.is_(None)
    if name != NO_FACTION:
        try:
            condition = Player.faction == recognise(connection, name)
        except BankError as error:
            raise NotFound(str(error)) from None
    return connection.execute(select(Player.account_id).where(condition).order_by(Player.account_id)).scalars().all()


def _refuse_undone(connection: Connection, transfer_id: int) -> None:
    """Raise AlreadyUndone if a reversal or a refund has undone the transfer, or if the transfer is one itself.

    The transfer's charge stays locked, so that its vendor cannot refund it until the transaction ends.
    """
    charged = or_(Charge.transfer_id == transfer_id, Charge.refund_transfer_id == transfer_id)
    refund = connection.execute(select(Charge.refund_transfer_id).where(charged).with_for_update()).scalar_one_or_none()
    undone = exists().where(or_(Reversal.transfer_id == transfer_id, Reversal.reversal_id == transfer_id))
    if connection.execute(select(undone)).scalar_one():
        raise AlreadyUndone(f"Transaction {transfer_id} has been reversed already, or is a reversal itself.")
    if refund is not None:
        raise AlreadyUndone(
            f"Transaction {transfer_id} belongs to a charge that was refunded: adjust a balance instead."
        )


def _check_funds(connection: Connection, account_id: int, amount: int) -> None:
    """Raise InsufficientFunds, which states the missing amount, if an account holds less than `amount` (hundredths).

    The check only makes the error message precise: the ledger itself rejects an overdraft.
    """
    if account_id == SYSTEM_ID:
        return
    held = connection.execute(select(balance_of(literal(account_id)))).scalar_one()
    if held < amount:
        missing = format_amount(amount - held)
        raise InsufficientFunds(
            f"The account holds {format_amount(held)}, but {format_amount(amount)} is needed: {missing} is missing."
        )


def _entry(connection: Connection, transfer_id: int) -> Entry:
    found = entry(connection, transfer_id)
    if found is None:
        raise RuntimeError(f"the new transfer {transfer_id} does not exist")
    return found
