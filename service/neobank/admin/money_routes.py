"""Organisers move money: corrections, reversals, credits for a faction."""

from apiflask import APIBlueprint
from flask import Response
from sqlalchemy import Connection

from neobank.admin import money, reports, users
from neobank.admin.schemas import Adjustment, Credit, Credited, Page, ReversalReason, Transactions
from neobank.audit.operations import Detail, record
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
    """Give a player, or the casino's house (NC-CASA-0000), an amount, or take it."""
    by = current_caller()

    def adjust(connection: Connection) -> TransferMade:
        subject = users.find_with_house(connection, number)
        made = money.adjust(connection, subject, amount=json_data.amount, reason=json_data.reason, by=by.account_id)
        details: dict[str, Detail] = {
            "amount": to_number(json_data.amount),
            "reason": json_data.reason,
            "transaction": made.id,
        }
        record(connection, actor=by.account_id, action="adjust_balance", target=subject.number, details=details)
        return TransferMade(message="The balance is adjusted.", transaction=Transaction.of(made))

    return once(by.account_number, adjust, status=200)


@money_blueprint.post("/transactions/<int:transaction_id>/reverse")
@money_blueprint.auth_required(bearer, roles=[ORGANISER])
@money_blueprint.input(ReversalReason)
@money_blueprint.output(TransferMade)
@money_blueprint.doc(responses=[404, 409, 422])
def post_reversal(transaction_id: int, json_data: ReversalReason) -> TransferMade | Response:
    """Undo a transaction by the opposite one, at most once."""
    by = current_caller()

    def reverse(connection: Connection) -> TransferMade:
        made = money.reverse(connection, transaction_id, reason=json_data.reason, by=by.account_id)
        details: dict[str, Detail] = {"reason": json_data.reason, "transaction": made.id}
        record(
            connection, actor=by.account_id, action="reverse", target=f"transaction {transaction_id}", details=details
        )
        return TransferMade(message="The transaction is reversed.", transaction=Transaction.of(made))

    return once(by.account_number, reverse, status=200)


@money_blueprint.post("/factions/<name>/add-credits")
@money_blueprint.auth_required(bearer, roles=[ORGANISER])
@money_blueprint.input(Credit)
@money_blueprint.output(Credited)
@money_blueprint.doc(responses=[404, 409, 422])
def post_credits(name: str, json_data: Credit) -> Credited | Response:
    """Give every member of a faction an amount, all or nobody; None are those without a faction."""
    by = current_caller()

    def credit(connection: Connection) -> Credited:
        count = money.credit_faction(
            connection, name, amount=json_data.amount, reason=json_data.reason, by=by.account_id
        )
        details: dict[str, Detail] = {
            "amount": to_number(json_data.amount),
            "reason": json_data.reason,
            "players": count,
        }
        record(connection, actor=by.account_id, action="add_credits", target=name, details=details)
        return Credited(message=f"{count} players were credited.", affected_users=count, users_affected=count)

    return once(by.account_number, credit, status=200)


@money_blueprint.get("/transactions")
@money_blueprint.auth_required(bearer, roles=[ORGANISER])
@money_blueprint.input(Page, location="query")
@money_blueprint.output(Transactions)
def get_transactions(query_data: Page) -> Transactions:
    """List all transactions, newest first."""
    with current_bank().statement() as connection:
        found = reports.transactions(connection, limit=query_data.limit, offset=query_data.offset)
    return Transactions(transactions=[Transaction.of(entry) for entry in found])
