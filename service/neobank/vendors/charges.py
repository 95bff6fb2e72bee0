"""Charges: a terminal asks, a player approves on the phone, and the money moves once.

Every step locks the charge's row first, so that of two that come at once the second sees what the first has done.
"""

import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import ClassVar, Final

from sqlalchemy import Connection, RowMapping, TextClause, bindparam, delete, exists, func, insert, select, text, update

from neobank.errors import BankError, NotFound
from neobank.ledger.models import Account, Reversal
from neobank.ledger.money import format_amount
from neobank.ledger.operations import NUMBER_ALPHABET, Entry, Kind, PostedTransfer, pay
from neobank.players.models import Player
from neobank.vendors.models import Charge

LIFETIME: Final = timedelta(minutes=5)
KEPT: Final = timedelta(days=1)
"""How long a charge is kept that nobody paid; one that was paid stays."""

CODE_LENGTH: Final = 8
"""40 random bits: at the rate at which one account may look codes up, guessing an open one takes centuries."""

MAX_LISTED: Final = 100


class Status(StrEnum):
    """What has become of a charge; it expires by its time being up."""

    PENDING = "pending"
    APPROVED = "approved"
    DECLINED = "declined"
    CANCELLED = "cancelled"
    EXPIRED = "expired"


class NotOpen(BankError):
    """The charge has been paid, declined or cancelled, or its time is up."""

    status: ClassVar[int] = 409


@dataclass(frozen=True, slots=True)
class ChargeDetails:
    """A charge as both sides see it; the amount is in hundredths, `payment` the transfer that paid it."""

    id: int
    code: str
    vendor_number: str
    vendor_name: str
    player_number: str | None
    amount: int
    memo: str
    status: Status
    created_at: datetime
    expires_at: datetime
    refunded: bool
    payment: Entry | None


_SELECT_DETAILS: Final = """
    SELECT charges.id, code, vendor.number AS vendor_number, vendor.name AS vendor_name, player.number AS player_number,
        charges.amount, charges.memo, charges.created_at, expires_at, refund_transfer_id IS NOT NULL AS refunded,
        CASE WHEN status = 'pending' AND expires_at <= now() THEN 'expired' ELSE status END AS status,
        transfer_id, payer.number AS payer_number, payer.name AS payer_name, transfers.created_at AS paid_at
    FROM charges JOIN accounts AS vendor ON vendor.id = charges.account_id
        LEFT JOIN accounts AS player ON player.id = charges.player_id
        LEFT JOIN transfers ON transfers.id = transfer_id
        LEFT JOIN accounts AS payer ON payer.id = transfers.debit_account_id
"""
_BY_ID: Final = text(_SELECT_DETAILS + "WHERE charges.id = :id AND charges.account_id = :vendor")
_BY_CODE: Final = text(_SELECT_DETAILS + "WHERE code = :code AND (player_id IS NULL OR player_id = :player)")
_OPEN: Final = text(
    _SELECT_DETAILS + "WHERE player_id = :player AND status = 'pending' AND expires_at > now() "
    "ORDER BY expires_at DESC, charges.id DESC LIMIT :limit"
)
_LOCK_BY_ID: Final = text("SELECT FROM charges WHERE id = :id AND account_id = :vendor FOR UPDATE")
_LOCK_BY_CODE: Final = text(
    "SELECT FROM charges WHERE code = :code AND (player_id IS NULL OR player_id = :player) FOR UPDATE"
)
_REVERSED: Final = select(exists().where(Reversal.transfer_id == bindparam("payment")))


def create(connection: Connection, *, vendor: int, player_number: str | None, amount: int, memo: str) -> ChargeDetails:
    """Open a charge for a vendor's account. Raises BankError where the player is none, or the vendor itself."""
    player = None if player_number is None else _player(connection, player_number, vendor)
    values = {"code": _new_code(), "account_id": vendor, "player_id": player, "amount": amount, "memo": memo}
    opened = insert(Charge).values(values | {"expires_at": func.now() + LIFETIME}).returning(Charge.id)
    return for_vendor(connection, connection.execute(opened).scalar_one(), vendor)


def for_vendor(connection: Connection, charge_id: int, vendor: int) -> ChargeDetails:
    """Look up a charge of a vendor's account, in one statement. Raises NotFound for one of somebody else."""
    return _one(connection, _BY_ID, {"id": charge_id, "vendor": vendor})


def for_player(connection: Connection, code: str, player: int) -> ChargeDetails:
    """Look up the charge with this code. Raises NotFound where it is another player's."""
    return _one(connection, _BY_CODE, {"code": tidy_code(code), "player": player})


def addressed_to(connection: Connection, player: int) -> Sequence[ChargeDetails]:
    """List the open charges that ask this player, newest first, at most MAX_LISTED."""
    rows = connection.execute(_OPEN, {"player": player, "limit": MAX_LISTED})
    return [_details(row) for row in rows.mappings()]


def approve(connection: Connection, code: str, player: int) -> tuple[ChargeDetails, PostedTransfer]:
    """Pay a charge, once.

    Raises NotFound, NotOpen, and whatever `pay` raises; nothing has moved then, and the transaction has to be rolled
    back.
    """
    which = {"code": tidy_code(code), "player": player}
    charge = _locked(connection, _LOCK_BY_CODE, _BY_CODE, which)
    posted = pay(
        connection,
        debit=player,
        credit_number=charge.vendor_number,
        amount=charge.amount,
        kind=Kind.VENDOR_CHARGE,
        memo=charge.memo,
        actor=player,
    )
    paid = update(Charge).where(Charge.id == charge.id).values(status=Status.APPROVED, transfer_id=posted.transfer_id)
    connection.execute(paid)
    return charge, posted


def decline(connection: Connection, code: str, player: int) -> ChargeDetails:
    """Refuse to pay a charge. Raises NotFound or NotOpen."""
    which = {"code": tidy_code(code), "player": player}
    charge = _locked(connection, _LOCK_BY_CODE, _BY_CODE, which)
    connection.execute(update(Charge).where(Charge.id == charge.id).values(status=Status.DECLINED))
    return _one(connection, _BY_CODE, which)


def cancel(connection: Connection, charge_id: int, vendor: int) -> ChargeDetails:
    """Take a charge back before it is paid. Raises NotFound or NotOpen."""
    which = {"id": charge_id, "vendor": vendor}
    _locked(connection, _LOCK_BY_ID, _BY_ID, which)
    connection.execute(update(Charge).where(Charge.id == charge_id).values(status=Status.CANCELLED))
    return _one(connection, _BY_ID, which)


def refund(
    connection: Connection, charge_id: int, vendor: int, amount: int | None
) -> tuple[ChargeDetails, PostedTransfer, int]:
    """Pay a charge back, once: this much, or all of it; gives the amount, too.

    Raises NotFound, NotOpen, BankError for more than was paid, and whatever `pay` raises.
    """
    which = {"id": charge_id, "vendor": vendor}
    connection.execute(_LOCK_BY_ID, which)
    charge = _one(connection, _BY_ID, which)
    if charge.payment is None or charge.refunded:
        state = "already refunded" if charge.refunded else charge.status
        raise NotOpen(f"This charge is {state}: only one that was approved can be refunded, once.")
    if connection.execute(_REVERSED, {"payment": charge.payment.id}).scalar_one():
        raise NotOpen("An organiser has reversed this charge's payment: there is nothing left to refund.")
    amount = charge.amount if amount is None else amount
    if amount > charge.amount:
        raise BankError(f"The charge was {format_amount(charge.amount)}: no more than that can be refunded.")
    posted = pay(
        connection,
        debit=vendor,
        credit_number=charge.payment.from_account,
        amount=amount,
        kind=Kind.REFUND,
        memo=charge.memo,
        actor=vendor,
    )
    connection.execute(update(Charge).where(Charge.id == charge_id).values(refund_transfer_id=posted.transfer_id))
    return charge, posted, amount


def forget_unpaid(connection: Connection) -> int:
    """Remove the charges that nobody paid and whose time was up long ago; gives how many there were."""
    old = delete(Charge).where(Charge.status != Status.APPROVED, Charge.expires_at < func.now() - KEPT)
    return connection.execute(old).rowcount


def tidy_code(typed: str) -> str:
    """Read a code as people type it: in small letters, or with a dash or blanks in between."""
    return "".join(character for character in typed.upper() if character not in " -")


def _player(connection: Connection, number: str, vendor: int) -> int:
    wanted = select(Player.account_id).join(Account, Account.id == Player.account_id).where(Account.number == number)
    found = connection.execute(wanted).scalar_one_or_none()
    if found is None:
        raise BankError(f"No player has the account {number}.")
    if found == vendor:
        raise BankError("A vendor can't charge its own account.")
    return found


def _new_code() -> str:
    return "".join(secrets.choice(NUMBER_ALPHABET) for _ in range(CODE_LENGTH))


def _locked(connection: Connection, lock: TextClause, read: TextClause, which: Mapping[str, object]) -> ChargeDetails:
    connection.execute(lock, which)
    charge = _one(connection, read, which)
    if charge.status != Status.PENDING:
        raise NotOpen(f"This charge is {charge.status}: nothing can be done with it any more.")
    return charge


def _one(connection: Connection, read: TextClause, which: Mapping[str, object]) -> ChargeDetails:
    row = connection.execute(read, which).mappings().one_or_none()
    if row is None:
        raise NotFound("There is no such charge, or it is not yours.")
    return _details(row)


def _details(row: RowMapping) -> ChargeDetails:
    payment = None
    if row["transfer_id"] is not None:
        payment = Entry(
            id=row["transfer_id"],
            from_account=row["payer_number"],
            from_name=row["payer_name"],
            to_account=row["vendor_number"],
            to_name=row["vendor_name"],
            amount=row["amount"],
            memo=row["memo"],
            created_at=row["paid_at"],
            kind=Kind.VENDOR_CHARGE,
        )
    fields = ("id", "code", "vendor_number", "vendor_name", "player_number", "amount", "memo", "created_at")
    return ChargeDetails(
        **{name: row[name] for name in fields},
        status=Status(row["status"]),
        expires_at=row["expires_at"],
        refunded=row["refunded"],
        payment=payment,
    )
