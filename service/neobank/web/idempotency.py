"""`Idempotency-Key`: the same request sent twice moves money once, and both are given the same answer.

The record of a request is claimed before its money moves and committed with it. A second request with the key waits for
the first one's transaction to end: if that committed, it is given its answer; if not, it never was.
Only successes are recorded, so a refused request may be sent again with the same key.
"""

import hashlib
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import ClassVar, Final, TypeVar

from flask import Response, jsonify, request
from pydantic import BaseModel
from sqlalchemy import JSON, Connection, DateTime, LargeBinary, Text, delete, func, select, text, update
from sqlalchemy.exc import OperationalError
from sqlalchemy.orm import Mapped, mapped_column

from neobank.database import Base
from neobank.errors import BankError
from neobank.web.bank import current_bank

HEADER: Final = "Idempotency-Key"
MAX_KEY: Final = 200
KEPT: Final = timedelta(hours=24)

Answer = TypeVar("Answer", bound=BaseModel)


class IdempotencyRecord(Base):
    """A request that succeeded, or one that is under way in another transaction."""

    __tablename__ = "idempotency_records"

    caller: Mapped[str] = mapped_column(Text, primary_key=True)
    key: Mapped[str] = mapped_column(Text, primary_key=True)
    request_hash: Mapped[bytes] = mapped_column(LargeBinary)
    answer: Mapped[dict[str, object] | None] = mapped_column(JSON)
    created_at: Mapped[datetime] = mapped_column(DateTime(timezone=True), server_default=func.now(), index=True)


class BadKey(BankError):
    """The key is not one that can be kept."""


class KeyReused(BankError):
    """The key belongs to another request."""

    status: ClassVar[int] = 422


class StillUnderWay(BankError):
    """Another request with this key has not ended yet."""

    status: ClassVar[int] = 409


# A request waits two seconds for another one with its key; the setting ends with the transaction.
_CLAIM = text("""
    INSERT INTO idempotency_records (caller, key, request_hash)
    SELECT :caller, :key, :request_hash FROM set_config('lock_timeout', '2s', true)
    ON CONFLICT DO NOTHING RETURNING true
""")


def once(
    caller: str, operation: Callable[[Connection], Answer], *, status: int, single_statement: bool = False
) -> Answer | Response:
    """Do what moves money, and give its answer; the same request of the same caller again is given that answer.

    `operation` runs in one transaction with the record of the key. A request without a key is simply done; what changes
    things in a single statement then needs no BEGIN and no COMMIT. `status` is the answer's when it succeeds.
    Raises BadKey, KeyReused, StillUnderWay, and whatever `operation` raises; nothing was done then.
    """
    key = request.headers.get(HEADER)
    bank = current_bank()
    if key is None:
        with bank.statement() if single_statement else bank.transaction() as connection:
            return operation(connection)
    if not (1 <= len(key) <= MAX_KEY and key.isascii() and key.isprintable()):
        raise BadKey(f"{HEADER} takes 1 to {MAX_KEY} printable ASCII characters.")
    digest = hashlib.sha256(
        b"\n".join([request.method.encode(), request.full_path.encode(), request.get_data()])
    ).digest()
    with bank.transaction() as connection:
        if not _claimed(connection, caller, key, digest):
            return _replayed(connection, caller, key, digest, status)
        answer = operation(connection)
        connection.execute(
            update(IdempotencyRecord)
            .where(IdempotencyRecord.caller == caller, IdempotencyRecord.key == key)
            .values(answer=answer.model_dump(mode="json"))
        )
    return answer


def _claimed(connection: Connection, caller: str, key: str, digest: bytes) -> bool:
    try:
        claim = connection.execute(_CLAIM, {"caller": caller, "key": key, "request_hash": digest})
    except OperationalError as error:
        if getattr(error.orig, "pgcode", None) == "55P03":  # lock_not_available
            raise StillUnderWay(
                f"Another request with this {HEADER} is still under way; ask again in a moment."
            ) from None
        raise
    return claim.one_or_none() is not None


def _replayed(connection: Connection, caller: str, key: str, digest: bytes, status: int) -> Response:
    kept = connection.execute(
        select(IdempotencyRecord.request_hash, IdempotencyRecord.answer).where(
            IdempotencyRecord.caller == caller, IdempotencyRecord.key == key
        )
    ).one()
    if kept.request_hash != digest:
        raise KeyReused(f"This {HEADER} belongs to another request; give each new one a key of its own.")
    response = jsonify(kept.answer)
    response.status_code = status
    return response


def forget(connection: Connection) -> int:
    """Remove the records that have been kept for their time; gives how many there were."""
    return connection.execute(
        delete(IdempotencyRecord).where(IdempotencyRecord.created_at < func.now() - KEPT)
    ).rowcount
