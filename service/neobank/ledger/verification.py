"""The proof that no money appeared, vanished or moved twice: every balance, recomputed from the transfers."""

from dataclasses import dataclass

from sqlalchemy import Connection, text


@dataclass(frozen=True, slots=True)
class Difference:
    """An account whose balance is not what its transfers add up to, both in hundredths."""

    number: str
    balance: int
    transfers: int


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a look at the whole ledger found; amounts in hundredths."""

    accounts: int
    transfers: int
    total: int
    differences: list[Difference]

    @property
    def sound(self) -> bool:
        """Whether every balance agrees and all of them together are zero."""
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
    ), held AS (
        SELECT account_id, sum(balance)::bigint AS balance FROM balances GROUP BY account_id
    )
    SELECT number, coalesce(balance, 0), coalesce(amount, 0)
    FROM accounts LEFT JOIN held ON held.account_id = id LEFT JOIN moved ON moved.account_id = id
    WHERE coalesce(balance, 0) <> coalesce(amount, 0) ORDER BY number
""")


def verify(connection: Connection) -> Verdict:
    """Recompute the whole ledger as it was at one moment; the connection must be in a REPEATABLE READ transaction."""
    connection.execute(text("SET LOCAL statement_timeout = 0"))
    accounts, transfers, total = connection.execute(_COUNTS).one()
    differences = [Difference(*row) for row in connection.execute(_DIFFERENCES)]
    return Verdict(accounts, transfers, total, differences)
