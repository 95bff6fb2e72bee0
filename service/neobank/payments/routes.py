"""Routes that pay another account, and list or search the caller's transactions."""

from typing import Annotated

from apiflask import APIBlueprint
from flask import Response
from pydantic import AfterValidator, Field
from sqlalchemy import Connection

from neobank import names
from neobank.ledger.models import MAX_MEMO
from neobank.ledger.operations import MAX_BIGINT, Kind, history, pay
from neobank.payments.schemas import Paid, Transaction
from neobank.payments.search import SEARCHED, search
from neobank.sessions import Caller
from neobank.settings import Limit
from neobank.web.authentication import bearer, current_caller
from neobank.web.bank import current_bank
from neobank.web.idempotency import once
from neobank.web.rate_limits import by_account, limited
from neobank.web.requests import Amount, Answer, Body, Maybe, Text

payments_blueprint = APIBlueprint("payments", __name__, url_prefix="/api/v1", tag="Payments")


class Payment(Body):
    """A payment to another account."""

    to_account: Text
    amount: Amount
    memo: Maybe[Annotated[Text, Field(max_length=MAX_MEMO)]] = None


class Page(Body):
    """A page of the history: at most `limit` transactions, with ids below `before`."""

    limit: Annotated[int, Field(ge=1, le=100)] = 10
    before: Annotated[int | None, Field(ge=1, le=MAX_BIGINT)] = None


def _not_blank(wanted: str) -> str:
    if not names.key(wanted):
        raise ValueError("must not be blank.")
    return wanted


class Search(Body):
    """The text to search for, and the maximum number of transactions to return."""

    q: Annotated[Text, Field(max_length=MAX_MEMO), AfterValidator(_not_blank)]
    limit: Annotated[int, Field(ge=1, le=100)] = 10


class SearchResult(Answer):
    """The transactions that match, newest first, and the text that was searched for."""

    transactions: list[Transaction]
    query: str


class History(Answer):
    """Transactions, newest first; `next` is the `before` of the following page, or null on the last page."""

    transactions: list[Transaction]
    next: int | None


@payments_blueprint.post("/transactions")
@payments_blueprint.auth_required(bearer)
@payments_blueprint.input(Payment)
@payments_blueprint.output(Paid, status_code=201)
@payments_blueprint.doc(responses=[409, 422, 429])
@limited(Limit.PAYMENTS, by_account)
def post_transaction(json_data: Payment) -> Paid | Response:
    """Pay another account."""
    payer = current_caller()
    return once(
        payer.account_number, lambda connection: _pay(connection, payer, json_data), status=201, autocommit=True
    )


def _pay(connection: Connection, payer: Caller, payment: Payment) -> Paid:
    memo = payment.memo or ""
    posted = pay(
        connection,
        debit=payer.account_id,
        credit_number=payment.to_account.strip().upper(),
        amount=payment.amount,
        kind=Kind.TRANSFER,
        memo=memo,
        actor=payer.account_id,
    )
    transaction = Transaction.made(
        posted,
        from_account=payer.account_number,
        from_name=payer.character_name,
        amount=payment.amount,
        memo=memo,
        kind=Kind.TRANSFER,
    )
    return Paid(message="Paid.", transaction=transaction, new_balance=posted.debit_balance)


@payments_blueprint.get("/account/transactions")
@payments_blueprint.auth_required(bearer)
@payments_blueprint.input(Page, location="query")
@payments_blueprint.output(History)
def get_transactions(query_data: Page) -> History:
    """List the caller's transactions, newest first."""
    with current_bank().statement() as connection:
        entries = history(connection, current_caller().account_id, limit=query_data.limit + 1, before=query_data.before)
    shown = entries[: query_data.limit]
    following = shown[-1].id if len(entries) > len(shown) else None
    return History(transactions=[Transaction.of(entry) for entry in shown], next=following)


@payments_blueprint.get("/account/transactions/search")
@payments_blueprint.auth_required(bearer)
@payments_blueprint.input(Search, location="query")
@payments_blueprint.output(SearchResult)
@payments_blueprint.doc(
    description=f"Searches the memo, and number and name of the other account, in the newest {SEARCHED} transactions.",
    responses=[429],
)
@limited(Limit.SEARCHES, by_account)
def get_search(query_data: Search) -> SearchResult:
    """Search the caller's transactions."""
    player = current_caller()
    with current_bank().statement() as connection:
        entries = search(
            connection, player.account_id, player.account_number, wanted=query_data.q, limit=query_data.limit
        )
    return SearchResult(transactions=[Transaction.of(entry) for entry in entries], query=query_data.q)
