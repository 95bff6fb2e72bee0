"""Money that organisers move: corrections, reversals, credits for a faction. All of it are transfers."""

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
"""How organisers name those without a faction."""


class AlreadyUndone(BankError):
    """The transfer has been reversed or refunded, or is a reversal itself."""

    status: ClassVar[int] = 409


def adjust(connection: Connection, subject: Subject, *, amount: int, reason: str, by: int) -> Entry:
    """Give a player an amount, or take it where it is negative. Raises InsufficientFunds, which says what there is."""
    if amount < 0:
        _require(connection, subject.account_id, -amount)
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
    """Undo a transfer by the opposite one, at most once.

    Raises NotFound, AlreadyUndone, or InsufficientFunds, which says what is missing; the transaction has to be rolled
    back then.
    """
    found = select(Transfer.debit_account_id, Transfer.credit_account_id, Transfer.amount, Account.number)
    payer = found.join(Account, Account.id == Transfer.debit_account_id).where(Transfer.id == transfer_id)
    row = connection.execute(payer).one_or_none()
    if row is None:
        raise NotFound(f"There is no transaction {transfer_id}.")
    _, receiver, amount, payer_number = row
    _refuse_undone(connection, transfer_id)
    _require(connection, receiver, amount)
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
    """Give every member of a faction an amount, all or nobody; gives how many there are. Raises NotFound."""
    members = _members(connection, name)
    if members:
        moves = [NewTransfer(SYSTEM_ID, member, amount) for member in members]
        pay_many(connection, moves, kind=Kind.ADMIN_ADJUSTMENT, memo=reason, actor=by)
    return len(members)


def _members(connection: Connection, name: str) -> Sequence[int]:
    which: ColumnElement[bool] = Player.faction.is_(None)
    if name != NO_FACTION:
        try:
            which = Player.faction == recognise(connection, name)
        except BankError as error:
            raise NotFound(str(error)) from None
    return connection.execute(select(Player.account_id).where(which).order_by(Player.account_id)).scalars().all()


def _refuse_undone(connection: Connection, transfer_id: int) -> None:
    """Refuse what was undone in whichever way; a charge stays locked, so that its vendor can't refund it meanwhile."""
    charged = or_(Charge.transfer_id == transfer_id, Charge.refund_transfer_id == transfer_id)
    refund = connection.execute(select(Charge.refund_transfer_id).where(charged).with_for_update()).scalar_one_or_none()
    undone = exists().where(or_(Reversal.transfer_id == transfer_id, Reversal.reversal_id == transfer_id))
    if connection.execute(select(undone)).scalar_one():
        raise AlreadyUndone(f"Transaction {transfer_id} has been reversed already, or is a reversal itself.")
    if refund is not None:
        raise AlreadyUndone(
            f"Transaction {transfer_id} belongs to a charge that was refunded: adjust a balance instead."
        )


def _require(connection: Connection, account_id: int, amount: int) -> None:
    """Say beforehand what is missing; that it can't be taken all the same, the ledger sees to."""
    if account_id == SYSTEM_ID:
        return
    held = connection.execute(select(balance_of(literal(account_id)))).scalar_one()
    if held < amount:
        missing = format_amount(amount - held)
        raise InsufficientFunds(
            f"The account holds {format_amount(held)}: {missing} is missing of {format_amount(amount)}."
        )


def _entry(connection: Connection, transfer_id: int) -> Entry:
    found = entry(connection, transfer_id)
    if found is None:
        raise RuntimeError("a transfer that was just made is not there")
    return found
