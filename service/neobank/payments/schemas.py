"""A transfer in responses."""

from datetime import datetime

from neobank.ledger.operations import Entry, Kind, PostedTransfer
from neobank.web.requests import Answer, Money


class Transaction(Answer):
    """A transfer."""

    id: int
    from_account: str
    from_name: str
    to_account: str
    to_name: str
    amount: Money
    memo: str
    timestamp: datetime
    type: str

    @classmethod
    def of(cls, entry: Entry) -> "Transaction":
        """Return the response form of a ledger entry."""
        return cls(
            id=entry.id,
            from_account=entry.from_account,
            from_name=entry.from_name,
            to_account=entry.to_account,
            to_name=entry.to_name,
            amount=entry.amount,
            memo=entry.memo,
            timestamp=entry.created_at,
            type=entry.kind,
        )

    @classmethod
    def made(
        cls, posted: PostedTransfer, *, from_account: str, from_name: str, amount: int, memo: str, kind: Kind
    ) -> "Transaction":
        """Return the response form of a transfer that was just made, without reading it back."""
        return cls(
            id=posted.transfer_id,
            from_account=from_account,
            from_name=from_name,
            to_account=posted.credit_number,
            to_name=posted.credit_name,
            amount=amount,
            memo=memo,
            timestamp=posted.created_at,
            type=kind,
        )


class TransferMade(Answer):
    """The transfer that was made."""

    message: str
    transaction: Transaction


class Paid(Answer):
    """The transfer that was made, and the payer's new balance."""

    message: str
    transaction: Transaction
    new_balance: Money
