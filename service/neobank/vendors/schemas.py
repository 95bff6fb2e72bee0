"""Request and response bodies of the terminals' routes, and of charges."""

from datetime import datetime
from typing import Annotated

from pydantic import Field

from neobank.ledger.models import MAX_MEMO
from neobank.payments.schemas import Transaction
from neobank.vendors.charges import ChargeDetails, Status
from neobank.web.requests import Amount, Answer, Body, Maybe, Money, Text

Memo = Maybe[Annotated[Text, Field(max_length=MAX_MEMO)]]


class ExternalPayment(Body):
    """A payment; a key of the scope `pay` can pay from its own account only."""

    from_account: Text
    to_account: Text
    amount: Amount
    memo: Memo = None


class NewCharge(Body):
    """A charge to create; without `player` (an account number), any player who has the code can pay it."""

    amount: Amount
    memo: Memo = None
    player: Maybe[Text] = None


class Refund(Body):
    """The amount to refund; without it, the whole charge."""

    amount: Maybe[Amount] = None


class AccountBalance(Answer):
    """The balance of an account."""

    account_number: str
    balance: Money


class Charge(Answer):
    """A charge; `approve_url` is relative to the bank's address, `transaction` is null until the charge is paid."""

    id: int
    code: str
    approve_url: str
    status: Status
    amount: Money
    memo: str
    vendor_account: str
    vendor_name: str
    player: str | None
    refunded: bool
    created_at: datetime
    expires_at: datetime
    transaction: Transaction | None

    @classmethod
    def of(cls, details: ChargeDetails) -> "Charge":
        """Convert a charge."""
        return cls(
            id=details.id,
            code=details.code,
            approve_url=f"/charges/{details.code}",
            status=details.status,
            amount=details.amount,
            memo=details.memo,
            vendor_account=details.vendor_number,
            vendor_name=details.vendor_name,
            player=details.player_number,
            refunded=details.refunded,
            created_at=details.created_at,
            expires_at=details.expires_at,
            transaction=Transaction.of(details.payment) if details.payment else None,
        )


class Charges(Answer):
    """Charges, newest first."""

    charges: list[Charge]
