"""Players' routes for charges: list, show, approve and decline them."""

from enum import StrEnum

from apiflask import APIBlueprint
from flask import Response
from sqlalchemy import Connection

from neobank.ledger.operations import Kind
from neobank.payments.schemas import Paid, Transaction
from neobank.sessions import Caller
from neobank.settings import Limit
from neobank.vendors import charges
from neobank.vendors.schemas import Charge, Charges
from neobank.web.authentication import bearer, current_caller
from neobank.web.bank import current_bank
from neobank.web.idempotency import once
from neobank.web.rate_limits import by_account, limited
from neobank.web.requests import Body

charges_blueprint = APIBlueprint("charges", __name__, url_prefix="/api/v1/charges", tag="Charges")


class ListedStatus(StrEnum):
    """The statuses by which charges can be listed."""

    PENDING = "pending"


class ChargeFilter(Body):
    """Which charges to list: only pending ones can be listed."""

    status: ListedStatus = ListedStatus.PENDING


@charges_blueprint.get("")
@charges_blueprint.auth_required(bearer)
@charges_blueprint.input(ChargeFilter, location="query")
@charges_blueprint.output(Charges)
def get_charges(query_data: ChargeFilter) -> Charges:
    """List the pending charges that are addressed to the caller."""
    del query_data
    with current_bank().statement() as connection:
        pending = charges.addressed_to(connection, current_caller().account_id)
    return Charges(charges=[Charge.of(details) for details in pending])


@charges_blueprint.get("/<code>")
@charges_blueprint.auth_required(bearer)
@charges_blueprint.output(Charge)
@charges_blueprint.doc(responses=[404, 429])
@limited(Limit.CHARGES, by_account)
def get_charge(code: str) -> Charge:
    """Show the charge with this code, unless it is addressed to another player."""
    with current_bank().statement() as connection:
        return Charge.of(charges.for_player(connection, code, current_caller().account_id))


@charges_blueprint.post("/<code>/approve")
@charges_blueprint.auth_required(bearer)
@charges_blueprint.output(Paid, status_code=201)
@charges_blueprint.doc(responses=[400, 404, 409, 422, 429])
@limited(Limit.PAYMENTS, by_account)
def post_approval(code: str) -> Paid | Response:
    """Approve a charge, which pays it. A charge is paid at most once."""
    player = current_caller()
    return once(player.account_number, lambda connection: _approve(connection, player, code), status=201)


def _approve(connection: Connection, player: Caller, code: str) -> Paid:
    charge, posted = charges.approve(connection, code, player.account_id)
    transaction = Transaction.made(
        posted,
        from_account=player.account_number,
        from_name=player.character_name,
        amount=charge.amount,
        memo=charge.memo,
        kind=Kind.VENDOR_CHARGE,
    )
    return Paid(message="Paid.", transaction=transaction, new_balance=posted.debit_balance)


@charges_blueprint.post("/<code>/decline")
@charges_blueprint.auth_required(bearer)
@charges_blueprint.output(Charge)
@charges_blueprint.doc(responses=[404, 409, 429])
@limited(Limit.CHARGES, by_account)
def post_refusal(code: str) -> Charge:
    """Decline a charge that is addressed to the caller; a charge for any player can only be cancelled by its vendor."""
    with current_bank().transaction() as connection:
        return Charge.of(charges.decline(connection, code, current_caller().account_id))
