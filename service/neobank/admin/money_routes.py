"""Organisers' routes that move money, and the list of all transactions."""

from apiflask import APIBlueprint
from flask import Response
from sqlalchemy import Connection

from neobank.admin import money, reports, users
from neobank.admin.actions import record_action
from neobank.admin.schemas import Adjustment, Credit, Credited, Page, ReversalReason, Transactions
from neobank.ledger.money import to_number
from neobank.payments.schemas import Transaction, TransferMade
from neobank.web.authentication import ORGANISER, bearer, current_caller
from neobank.web.bank import current_bank
from neobank.web.idempotency import once

money_blueprint = APIBlueprint("admin_money", __name__, url_prefix="/api/admin", tag="Organisers: money")


@money_blueprint.post("/users/<number>/adjust-balance")
@money_blueprint.auth_required(bearer, roles=[ORGANISER])
@money_blueprint.input(Adjustment)
@money_blueprint.output(TransferMade)
@money_blueprint.doc(responses=[404, 409, 422])
def post_adjustment(number: str, json_data: Adjustment) -> TransferMade | Response:
    """Add an amount to the balance of a player or the casino's house (NC-CASA-0000), or subtract a negative one."""
    organiser, amount, reason = current_caller(), json_data.amount, json_data.reason

    def adjust(connection: Connection) -> TransferMade:
        subject = users.find_with_house(connection, number)
        made = money.adjust(connection, subject, amount=amount, reason=reason, by=organiser.account_id)
        record_action(
            connection, "adjust_balance", subject.number, amount=to_number(amount), reason=reason, transaction=made.id
        )
        return TransferMade(message="The balance is adjusted.", transaction=Transaction.of(made))

    return once(organiser.account_number, adjust, status=200)


@money_blueprint.post("/transactions/<int:transaction_id>/reverse")
@money_blueprint.auth_required(bearer, roles=[ORGANISER])
@money_blueprint.input(ReversalReason)
@money_blueprint.output(TransferMade)
@money_blueprint.doc(responses=[404, 409, 422])
def post_reversal(transaction_id: int, json_data: ReversalReason) -> TransferMade | Response:
    """Reverse a transaction by the opposite one, at most once."""
    organiser, reason = current_caller(), json_data.reason

    def reverse(connection: Connection) -> TransferMade:
        made = money.reverse(connection, transaction_id, reason=reason, by=organiser.account_id)
        record_action(connection, "reverse", f"transaction {transaction_id}", reason=reason, transaction=made.id)
        return TransferMade(message="The transaction is reversed.", transaction=Transaction.of(made))

    return once(organiser.account_number, reverse, status=200)


@money_blueprint.post("/factions/<name>/add-credits")
@money_blueprint.auth_required(bearer, roles=[ORGANISER])
@money_blueprint.input(Credit)
@money_blueprint.output(Credited)
@money_blueprint.doc(responses=[404, 409, 422])
def post_credits(name: str, json_data: Credit) -> Credited | Response:
    """Credit every member of a faction with an amount: all of them or none.

    The name `None` addresses the players without a faction.
    """
    organiser, amount, reason = current_caller(), json_data.amount, json_data.reason

    def credit(connection: Connection) -> Credited:
        count = money.credit_faction(connection, name, amount=amount, reason=reason, by=organiser.account_id)
        record_action(connection, "add_credits", name, amount=to_number(amount), reason=reason, players=count)
        return Credited(message=f"{count} players were credited.", affected_users=count, users_affected=count)

    return once(organiser.account_number, credit, status=200)


@money_blueprint.get("/transactions")
@money_blueprint.auth_required(bearer, roles=[ORGANISER])
@money_blueprint.input(Page, location="query")
@money_blueprint.output(Transactions)
def get_transactions(query_data: Page) -> Transactions:
    """List all transactions, newest first."""
    with current_bank().statement() as connection:
        entries = reports.transactions(connection, limit=query_data.limit, offset=query_data.offset)
    return Transactions(transactions=[Transaction.of(entry) for entry in entries])
