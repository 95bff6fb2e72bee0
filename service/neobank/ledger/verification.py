"""Verification of the ledger: each balance must equal the sum of its account's transfers, and all balances sum to 0."""

from dataclasses import dataclass

from sqlalchemy import Connection, text


@dataclass(frozen=True, slots=True)
class Difference:
    """An account whose balance differs from the sum of its transfers; both in hundredths."""

    number: str
    balance: int
    transfers: int


@dataclass(frozen=True, slots=True)
class Verdict:
    """The result of a verification: counts, the sum of all balances, and the differences; amounts in hundredths."""

    accounts: int
    transfers: int
    total: int
    differences: list[Difference]

    @property
    def sound(self) -> bool:
        """Whether no balance differs and the sum of all balances is zero."""
        return not self.differences and self.total == 0


_COUNTS = text(
    "SELECT (SELECT count(*) FROM accounts), (SELECT count(*) FROM transfers), "
    "(SELECT coalesce(sum(balance), 0)::bigint FROM balances)"
)
_DIFFERENCES = text("""
    WITH moved AS (
        SELECT account_id, sum(amount)::bigint AS amount
        FROM (
            SELECT credit_account_id AS account_id, amount FROM transfers
            UNION ALL
            SELECT debit_account_id, -amount FROM transfers
        ) AS sides GROUP BY account_id
    ), stored AS (
        SELECT account_id, sum(balance)::bigint AS balance FROM balances GROUP BY account_id
    )
    SELECT number, coalesce(balance, 0), coalesce(amount, 0)
    FROM accounts LEFT JOIN stored ON stored.account_id = id LEFT JOIN moved ON moved.account_id = id
    WHERE coalesce(balance, 0) <> coalesce(amount, 0) ORDER BY number
""")


def verify(connection: Connection) -> Verdict:
    """Recompute all balances. The connection must be in a REPEATABLE READ transaction, so that all queries agree."""
    connection.execute(text("SET LOCAL statement_timeout = 0"))
    accounts, transfers, total = connection.execute(_COUNTS).one()
    differences = [Difference(*row) for row in connection.execute(_DIFFERENCES)]
    return Verdict(accounts, transfers, total, differences)
