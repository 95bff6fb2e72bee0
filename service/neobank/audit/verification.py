"""The proof that nobody changed what organisers did: the audit's chain of hashes, computed anew.

The hash of a row is the SHA-256 of the hash of the row before it (32 zero bytes before the first) and of these fields
as netstrings (length in bytes, colon, field, comma): id, time in microseconds since 1970, the actor's account id,
action, target, details. Rows that were cut off at the end leave a chain that agrees: whoever noted its head sees that.
"""

import hashlib
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from sqlalchemy import Connection, select

from neobank.audit.models import AuditLog

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Chain:
    """How many rows there are, the hash of the last, and the first row that does not agree, if any."""

    rows: int
    head: bytes
    broken_at: int | None


def verify_chain(connection: Connection) -> Chain:
    """Compute the whole chain anew, a few rows in memory at a time."""
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
