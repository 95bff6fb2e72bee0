"""A transfer as every part of the interface shows it."""

from datetime import datetime

from neobank.ledger.operations import Entry
from neobank.web.requests import Answer, Money


class Transaction(Answer):
    """A transfer, as its readers see it."""

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
        """Show an entry of the ledger."""
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
