"""Charges: a terminal requests a payment, a player approves it on the phone, and the money moves once.

Approval, decline, cancellation and refund lock the charge's row first, so that the second of two concurrent changes
sees the result of the first.

A charge for one player is declined by that player only. A charge without a player can be approved by every player who
has its code, so no player can decline it: its vendor cancels it.
"""

import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import ClassVar, Final

from sqlalchemy import Connection, RowMapping, TextClause, bindparam, delete, exists, func, insert, select, text, update

from neobank.errors import BankError, Forbidden, NotFound
from neobank.ledger.models import Reversal
from neobank.ledger.money import format_amount
from neobank.ledger.operations import NUMBER_ALPHABET, Entry, Kind, PostedTransfer, pay
from neobank.vendors.accounts import find_player
from neobank.vendors.models import Charge

LIFETIME: Final = timedelta(minutes=5)
"""How long a charge can be approved after its creation."""

KEPT: Final = timedelta(days=1)
"""How long an unpaid charge is kept after its expiry. A paid charge is kept forever."""

CODE_LENGTH: Final = 8
"""Characters of a code. With an alphabet of 32 characters these are 40 random bits: at one account's rate limit for
lookups, guessing the code of a pending charge takes centuries."""

MAX_LISTED: Final = 100

MAX_PENDING: Final = 5
"""How many charges of one vendor can be pending for one player, so that they don't hide other vendors' charges."""


class Status(StrEnum):
    """The status of a charge. EXPIRED is not stored: it is a pending charge after its `expires_at`."""

    PENDING = "pending"
    APPROVED = "approved"
    DECLINED = "declined"
    CANCELLED = "cancelled"
    EXPIRED = "expired"


class StatusConflict(BankError):
    """The status of the charge does not allow the change."""

    status: ClassVar[int] = 409


class TooManyPending(BankError):
    """MAX_PENDING charges of the vendor are pending for the player."""

    status: ClassVar[int] = 409


@dataclass(frozen=True, slots=True)
class ChargeDetails:
    """A charge as vendor and player see it; the amount is in hundredths, `payment` is the transfer that paid it."""

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


_DETAILS: Final = """
    SELECT charges.id, code, vendor.number AS vendor_number, vendor.name AS vendor_name, player.number AS player_number,
        charges.amount, charges.memo, charges.created_at, expires_at, refund_transfer_id IS NOT NULL AS refunded,
        CASE WHEN status = 'pending' AND expires_at <= now() THEN 'expired' ELSE status END AS status,
        transfer_id, payer.number AS payer_number, payer.name AS payer_name, transfers.created_at AS paid_at
    FROM {charges} AS charges JOIN accounts AS vendor ON vendor.id = charges.account_id
        LEFT JOIN accounts AS player ON player.id = charges.player_id
        LEFT JOIN transfers ON transfers.id = transfer_id
        LEFT JOIN accounts AS payer ON payer.id = transfers.debit_account_id
"""
_SELECT_DETAILS: Final = _DETAILS.format(charges="charges")
_BY_ID: Final = text(_SELECT_DETAILS + "WHERE charges.id = :id AND charges.account_id = :vendor")
_BY_CODE: Final = text(_SELECT_DETAILS + "WHERE code = :code AND (player_id IS NULL OR player_id = :player)")
# If there are more than :limit, each vendor's newest charge is listed before the second newest of any vendor.
_PENDING: Final = text(
    """WITH listed AS (
        SELECT * FROM (
            SELECT *, row_number() OVER (PARTITION BY account_id ORDER BY id DESC) AS place FROM charges
            WHERE player_id = :player AND status = 'pending' AND expires_at > now()
        ) AS pending ORDER BY place, id DESC LIMIT :limit
    )"""  # noqa: S608  # no text of a client
    + _DETAILS.format(charges="listed")
    + "ORDER BY expires_at DESC, charges.id DESC"
)
_LOCK_PLAYER: Final = text("SELECT FROM players WHERE account_id = :player FOR NO KEY UPDATE")
_PENDING_COUNT: Final = text(
    "SELECT count(*) FROM charges WHERE player_id = :player AND account_id = :vendor"
    " AND status = 'pending' AND expires_at > now()"
)
_LOCK_BY_ID: Final = text("SELECT FROM charges WHERE id = :id AND account_id = :vendor FOR UPDATE")
_LOCK_BY_CODE: Final = text(
    "SELECT FROM charges WHERE code = :code AND (player_id IS NULL OR player_id = :player) FOR UPDATE"
)
_IS_REVERSED: Final = select(exists().where(Reversal.transfer_id == bindparam("payment")))


def create(connection: Connection, *, vendor: int, player_number: str | None, amount: int, memo: str) -> ChargeDetails:
    """Create a charge by which the vendor (an account id) requests an amount (hundredths of ¤).

    Raise UnknownAccount if no player has the number, BankError if it is the vendor's own, TooManyPending.
    """
    player = None
    if player_number is not None:
        player = _player(connection, player_number, vendor)
        _refuse_too_many(connection, player_number, player, vendor)
    values = {"code": _new_code(), "account_id": vendor, "player_id": player, "amount": amount, "memo": memo}
    statement = insert(Charge).values(values | {"expires_at": func.now() + LIFETIME}).returning(Charge.id)
    return for_vendor(connection, connection.execute(statement).scalar_one(), vendor)


def for_vendor(connection: Connection, charge_id: int, vendor: int) -> ChargeDetails:
    """Look up a charge of a vendor's account in one statement. Raise NotFound if the vendor has no such charge."""
    return _one(connection, _BY_ID, {"id": charge_id, "vendor": vendor})


def for_player(connection: Connection, code: str, player: int) -> ChargeDetails:
    """Look up the charge with this code. Raise NotFound if there is none or it is addressed to another player."""
    return _one(connection, _BY_CODE, {"code": _normalise(code), "player": player})


def addressed_to(connection: Connection, player: int) -> Sequence[ChargeDetails]:
    """List the pending charges that are addressed to a player, newest first, at most MAX_LISTED, of all vendors."""
    rows = connection.execute(_PENDING, {"player": player, "limit": MAX_LISTED})
    return [_details(row) for row in rows.mappings()]


def approve(connection: Connection, code: str, player: int) -> tuple[ChargeDetails, PostedTransfer]:
    """Pay a charge, at most once. Return the charge as it was before the payment, and the transfer.

    Raise NotFound, StatusConflict, or what `pay` raises; no money has moved then, and the transaction must be rolled
    back.
    """
    key = {"code": _normalise(code), "player": player}
    charge = _lock_pending(connection, _LOCK_BY_CODE, _BY_CODE, key)
    posted = pay(
        connection,
        debit=player,
        credit_number=charge.vendor_number,
        amount=charge.amount,
        kind=Kind.VENDOR_CHARGE,
        memo=charge.memo,
        actor=player,
    )
    values = {"status": Status.APPROVED, "transfer_id": posted.transfer_id}
    connection.execute(update(Charge).where(Charge.id == charge.id).values(values))
    return charge, posted


def decline(connection: Connection, code: str, player: int) -> ChargeDetails:
    """Decline a charge. Raise NotFound, StatusConflict, or Forbidden if it is addressed to no player."""
    key = {"code": _normalise(code), "player": player}
    charge = _lock_pending(connection, _LOCK_BY_CODE, _BY_CODE, key)
    if charge.player_number is None:
        raise Forbidden("This charge is for any player: do not approve it, or ask the vendor to cancel it.")
    connection.execute(update(Charge).where(Charge.id == charge.id).values(status=Status.DECLINED))
    return _one(connection, _BY_CODE, key)


def cancel(connection: Connection, charge_id: int, vendor: int) -> ChargeDetails:
    """Cancel a pending charge. Raise NotFound or StatusConflict."""
    key = {"id": charge_id, "vendor": vendor}
    _lock_pending(connection, _LOCK_BY_ID, _BY_ID, key)
    connection.execute(update(Charge).where(Charge.id == charge_id).values(status=Status.CANCELLED))
    return _one(connection, _BY_ID, key)


def refund(
    connection: Connection, charge_id: int, vendor: int, amount: int | None
) -> tuple[ChargeDetails, PostedTransfer, int]:
    """Refund a charge, at most once: `amount` (hundredths), or all of it if None.

    Return the charge as it was before the refund, the transfer and the refunded amount. Raise NotFound, StatusConflict,
    BankError if the amount is larger than the charge, or what `pay` raises; the transaction must then be rolled back.
    """
    key = {"id": charge_id, "vendor": vendor}
    connection.execute(_LOCK_BY_ID, key)
    charge = _one(connection, _BY_ID, key)
    if charge.payment is None or charge.refunded:
        state = "already refunded" if charge.refunded else charge.status
        raise StatusConflict(f"This charge is {state}: only an approved charge can be refunded, and only once.")
    if connection.execute(_IS_REVERSED, {"payment": charge.payment.id}).scalar_one():
        raise StatusConflict("An organiser has reversed this charge's payment: there is nothing left to refund.")
    amount = charge.amount if amount is None else amount
    if amount > charge.amount:
        raise BankError(f"amount: a refund can't be larger than the charge, {format_amount(charge.amount)}.")
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
    """Delete the unpaid charges whose `expires_at` is more than KEPT ago, and return their number."""
    statement = delete(Charge).where(Charge.status != Status.APPROVED, Charge.expires_at < func.now() - KEPT)
    return connection.execute(statement).rowcount


def _normalise(code: str) -> str:
    """Return a code as it is stored: people type small letters, dashes and spaces."""
    return "".join(character for character in code.upper() if character not in " -")


def _player(connection: Connection, number: str, vendor: int) -> int:
    player, _ = find_player(connection, number)
    if player == vendor:
        raise BankError("player: a vendor cannot charge its own account.")
    return player


def _refuse_too_many(connection: Connection, number: str, player: int, vendor: int) -> None:
    """Raise TooManyPending if the vendor may not create another charge for the player.

    The player's row stays locked until the transaction ends, so that concurrent requests do not exceed the limit.
    """
    connection.execute(_LOCK_PLAYER, {"player": player})
    pending = connection.execute(_PENDING_COUNT, {"player": player, "vendor": vendor}).scalar_one()
    if pending >= MAX_PENDING:
        raise TooManyPending(
            f"player: {pending} of your charges are pending for {number}: cancel one, or wait until one is approved,"
            " declined or expired."
        )


def _new_code() -> str:
    return "".join(secrets.choice(NUMBER_ALPHABET) for _ in range(CODE_LENGTH))


def _lock_pending(
    connection: Connection, lock: TextClause, read: TextClause, key: Mapping[str, object]
) -> ChargeDetails:
    connection.execute(lock, key)
    charge = _one(connection, read, key)
    if charge.status != Status.PENDING:
        raise StatusConflict(
            f"This charge is {charge.status}: only a pending charge can be approved, declined or cancelled."
        )
    return charge


def _one(connection: Connection, read: TextClause, key: Mapping[str, object]) -> ChargeDetails:
    row = connection.execute(read, key).mappings().one_or_none()
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
