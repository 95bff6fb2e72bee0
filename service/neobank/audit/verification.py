"""Verification of the audit log: recompute the hash chain.

The hash of a row is the SHA-256 of the previous row's hash (32 zero bytes before the first row) and of these fields as
netstrings (length in bytes, colon, field, comma): id, time in microseconds since 1970, the actor's account id, action,
target, details. If rows are removed at the end, the remaining chain is valid; only a head written down before reveals
it.
"""

import hashlib
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from sqlalchemy import Connection, select

from neobank.audit.models import AuditLog

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Chain:
    """The number of rows, the head (hash of the last row), and the id of the first row with a wrong hash, if any."""

    rows: int
    head: bytes
    broken_at: int | None


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
