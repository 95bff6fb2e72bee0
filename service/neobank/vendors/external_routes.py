"""Routes of vendors' terminals: payments, balances, and charges for players."""

from apiflask import APIBlueprint
from flask import Response, jsonify
from sqlalchemy import Connection

from neobank.ledger.operations import Kind, pay
from neobank.payments.schemas import Transaction, TransferMade
from neobank.settings import Limit
from neobank.vendors import charges, payments
from neobank.vendors.authentication import api_key, by_key, current_vendor
from neobank.vendors.charges import Status
from neobank.vendors.keys import Scope, Vendor
from neobank.vendors.schemas import AccountBalance, Charge, ExternalPayment, NewCharge, Refund
from neobank.web.bank import current_bank
from neobank.web.idempotency import once
from neobank.web.rate_limits import limited

external_blueprint = APIBlueprint("external", __name__, url_prefix="/api/v1/external", tag="Vendors")

POLL_INTERVAL = "2"
"""The Retry-After of a pending charge: seconds that a terminal should wait before it polls again."""


@external_blueprint.post("/transactions")
@external_blueprint.auth_required(api_key)
@external_blueprint.input(ExternalPayment)
@external_blueprint.output(TransferMade, status_code=201)
@external_blueprint.doc(responses=[403, 409, 422, 429])
@limited(Limit.VENDORS, by_key)
def post_transaction(json_data: ExternalPayment) -> TransferMade | Response:
    """Pay from the key's own account (scope `pay` or `debit`) or from any player's account (scope `debit`)."""
    vendor = current_vendor()
    vendor.require(Scope.PAY, Scope.DEBIT)
    return once(by_key(), lambda connection: _pay(connection, vendor, json_data), status=201, autocommit=True)


def _pay(connection: Connection, vendor: Vendor, payment: ExternalPayment) -> TransferMade:
    number, memo = payment.from_account.strip().upper(), payment.memo or ""
    payer_id, payer_name = payments.payer(connection, vendor, number)
    posted = pay(
        connection,
        debit=payer_id,
        credit_number=payment.to_account.strip().upper(),
        amount=payment.amount,
        kind=Kind.TRANSFER,
        memo=memo,
        actor=vendor.account_id,
    )
    transaction = Transaction.made(
        posted, from_account=number, from_name=payer_name, amount=payment.amount, memo=memo, kind=Kind.TRANSFER
    )
    return TransferMade(message="Paid.", transaction=transaction)


@external_blueprint.get("/account/<number>/balance")
@external_blueprint.auth_required(api_key)
@external_blueprint.output(AccountBalance)
@external_blueprint.doc(responses=[403, 404, 429])
@limited(Limit.VENDORS, by_key)
def get_balance(number: str) -> AccountBalance:
    """Show the balance of the key's own account, or with the scope `debit` of any player's account."""
    number = number.strip().upper()
    with current_bank().statement() as connection:
        return AccountBalance(account_number=number, balance=payments.balance(connection, current_vendor(), number))


@external_blueprint.post("/charges")
@external_blueprint.auth_required(api_key)
@external_blueprint.input(NewCharge)
@external_blueprint.output(Charge, status_code=201)
@external_blueprint.doc(responses=[403, 409, 422, 429])
@limited(Limit.VENDORS, by_key)
def post_charge(json_data: NewCharge) -> Charge | Response:
    """Create a charge, which a player can pay to the key's account.

    A repeated request with the same Idempotency-Key returns the same charge.
    """
    vendor = current_vendor()
    return once(by_key(), lambda connection: _create_charge(connection, vendor, json_data), status=201)


def _create_charge(connection: Connection, vendor: Vendor, new_charge: NewCharge) -> Charge:
    player = new_charge.player.strip().upper() if new_charge.player else None
    created = charges.create(
        connection, vendor=vendor.account_id, player_number=player, amount=new_charge.amount, memo=new_charge.memo or ""
    )
    return Charge.of(created)


@external_blueprint.get("/charges/<int:charge_id>")
@external_blueprint.auth_required(api_key)
@external_blueprint.output(Charge)
@external_blueprint.doc(responses=[403, 404, 429])
@limited(Limit.POLLS, by_key)
def get_charge(charge_id: int) -> Charge | Response:
    """Show a charge of the key's account; while it is pending, Retry-After states when to poll again."""
    with current_bank().statement() as connection:
        charge = Charge.of(charges.for_vendor(connection, charge_id, current_vendor().account_id))
    response = jsonify(charge.model_dump(mode="json"))
    if charge.status == Status.PENDING:
        response.headers["Retry-After"] = POLL_INTERVAL
    return response


@external_blueprint.delete("/charges/<int:charge_id>")
@external_blueprint.auth_required(api_key)
@external_blueprint.output(Charge)
@external_blueprint.doc(responses=[403, 404, 409, 429])
@limited(Limit.VENDORS, by_key)
def delete_charge(charge_id: int) -> Charge:
    """Cancel a pending charge."""
    with current_bank().transaction() as connection:
        return Charge.of(charges.cancel(connection, charge_id, current_vendor().account_id))


@external_blueprint.post("/charges/<int:charge_id>/refund")
@external_blueprint.auth_required(api_key)
@external_blueprint.input(Refund)
@external_blueprint.output(TransferMade, status_code=201)
@external_blueprint.doc(responses=[403, 404, 409, 422, 429])
@limited(Limit.VENDORS, by_key)
def post_refund(charge_id: int, json_data: Refund) -> TransferMade | Response:
    """Refund an approved charge to the player who paid it, at most once, in full or in part."""
    vendor = current_vendor()
    return once(by_key(), lambda connection: _refund(connection, vendor, charge_id, json_data), status=201)


def _refund(connection: Connection, vendor: Vendor, charge_id: int, new_refund: Refund) -> TransferMade:
    charge, posted, amount = charges.refund(connection, charge_id, vendor.account_id, new_refund.amount)
    transaction = Transaction.made(
        posted,
        from_account=charge.vendor_number,
        from_name=charge.vendor_name,
        amount=amount,
        memo=charge.memo,
        kind=Kind.REFUND,
    )
    return TransferMade(message="Refunded.", transaction=transaction)
