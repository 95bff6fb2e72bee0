"""Verification of the audit log: recompute the hash chain, and find transfers that no row explains.

The hash of a row is the SHA-256 of the previous row's hash (32 zero bytes before the first row) and of these fields as
netstrings (length in bytes, colon, field, comma): id, time in microseconds since 1970, the actor's account id, action,
target, details. If rows are removed at the end, the remaining chain is valid; only a head written down before reveals
it.
"""

import hashlib
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from sqlalchemy import Connection, select, text

from neobank.audit.models import AuditLog

# The first condition is that of the trigger transfers_are_explained (migrations/sql/0015_limited_roles.sql). It is
# written twice, because a function that both call would make each payment 8 % slower.
# The first opening balance of an account needs no explanation. An audit row is written in the transaction of the
# transfer, whose created_at is the beginning of the transaction.
_UNEXPLAINED = text("""
    SELECT transfer.id, payer.number, receiver.number, transfer.amount
    FROM transfers AS transfer
        JOIN accounts AS payer ON payer.id = transfer.debit_account_id
        JOIN accounts AS receiver ON receiver.id = transfer.credit_account_id
    WHERE (
        transfer.debit_account_id >= 9000000000000000001 AND transfer.kind <> 'casino_win'
        OR transfer.kind IN ('admin_adjustment', 'reversal')
    ) AND (transfer.kind <> 'opening_balance' OR EXISTS (
        SELECT FROM transfers AS earlier
        WHERE earlier.credit_account_id = transfer.credit_account_id AND earlier.id < transfer.id
            AND earlier.kind = 'opening_balance'
    )) AND NOT EXISTS (
        SELECT FROM audit_logs AS log
        WHERE log.created_at BETWEEN transfer.created_at AND transfer.created_at + interval '1 minute'
            AND explains(log, transfer)
    )
    ORDER BY transfer.id
""")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Chain:
    """The number of rows, the head (hash of the last row), and the id of the first row with a wrong hash, if any."""

    rows: int
    head: bytes
    broken_at: int | None


@dataclass(frozen=True, slots=True)
class Unexplained:
    """A transfer that only an organiser may make, and that no audit row explains; the amount is in hundredths."""

    transfer_id: int
    payer: str
    receiver: str
    amount: int


def unexplained(connection: Connection) -> list[Unexplained]:
    """Return the adjustments, reversals and payments of SYSTEM or the house that no audit row explains.

    `require_explanation` (functions/organisers.sql) refuses such a transfer of the service's role.
    """
    return [Unexplained(*row) for row in connection.execute(_UNEXPLAINED)]


def verify_chain(connection: Connection) -> Chain:
    """Recompute the chain up to the first wrong hash, with 1000 rows in memory at a time."""
    rows, head = 0, bytes(32)
    statement = select(AuditLog.__table__).order_by(AuditLog.id).execution_options(yield_per=1000)
    for row in connection.execute(statement):
        fields = (row.id, (row.created_at - _EPOCH) // timedelta(microseconds=1), row.actor_id)
        head = hashlib.sha256(head + _netstrings(*map(str, fields), row.action, row.target, row.details)).digest()
        rows += 1
        if row.hash != head:
            return Chain(rows, head, row.id)
    return Chain(rows, head, None)


def _netstrings(*fields: str) -> bytes:
    encoded = (field.encode() for field in fields)
    return b"".join(b"%d:%b," % (len(field), field) for field in encoded)
