"""`Idempotency-Key`: a request that is sent twice moves money once, and both responses are the same.

The record of a request is inserted before its money moves, and committed with it. A second request with the key waits
until the transaction of the first one ends, at most two seconds; after that it is rejected with 409. If the first one
committed, the second one receives its response; if not, the second one is carried out. Only successes are recorded, so
a rejected request may be sent again with the same key.
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
RETENTION: Final = timedelta(hours=24)

Answer = TypeVar("Answer", bound=BaseModel)


class IdempotencyRecord(Base):
    """A request that succeeded. `answer` is NULL only in the transaction that carries the request out."""

    __tablename__ = "idempotency_records"

    caller: Mapped[str] = mapped_column(Text, primary_key=True)
    key: Mapped[str] = mapped_column(Text, primary_key=True)
    request_hash: Mapped[bytes] = mapped_column(LargeBinary)
    answer: Mapped[dict[str, object] | None] = mapped_column(JSON)
    created_at: Mapped[datetime] = mapped_column(DateTime(timezone=True), server_default=func.now(), index=True)


class BadKey(BankError):
    """The key is empty, too long or not printable ASCII."""


class KeyReused(BankError):
    """The key was used for another request."""

    status: ClassVar[int] = 422


class InProgress(BankError):
    """Another request with this key has not ended yet."""

    status: ClassVar[int] = 409


# A request waits at most two seconds for another one with its key. The setting lasts until the transaction ends, so it
# also limits the locks of the operation.
_CLAIM = text("""
    INSERT INTO idempotency_records (caller, key, request_hash)
    SELECT :caller, :key, :request_hash FROM set_config('lock_timeout', '2s', true)
    ON CONFLICT DO NOTHING RETURNING true
""")


def once(
    caller: str, operation: Callable[[Connection], Answer], *, status: int, autocommit: bool = False
) -> Answer | Response:
    """Run an operation that moves money and return its answer; return the recorded one for a repeated request.

    `operation` runs in one transaction with the record of the key. Without a key nothing is recorded; an operation
    whose last statement makes the whole change can then run with `autocommit`. `status` is that of a successful
    response. Raise BadKey, KeyReused, InProgress, or any exception of `operation`; in each case no money was moved.
    """
    key = request.headers.get(HEADER)
    bank = current_bank()
    if key is None:
        with bank.statement() if autocommit else bank.transaction() as connection:
            return operation(connection)
    if not (1 <= len(key) <= MAX_KEY and key.isascii() and key.isprintable()):
        raise BadKey(f"{HEADER} must have 1 to {MAX_KEY} printable ASCII characters.")
    digest = hashlib.sha256(
        b"\n".join([request.method.encode(), request.full_path.encode(), request.get_data()])
    ).digest()
    with bank.transaction() as connection:
        if not _claimed(connection, caller, key, digest):
            return _recorded(connection, caller, key, digest, status)
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
            raise InProgress(
                f"Another request with this {HEADER} is still in progress: send it again in a moment."
            ) from None
        raise
    return claim.one_or_none() is not None


def _recorded(connection: Connection, caller: str, key: str, digest: bytes, status: int) -> Response:
    record = connection.execute(
        select(IdempotencyRecord.request_hash, IdempotencyRecord.answer).where(
            IdempotencyRecord.caller == caller, IdempotencyRecord.key == key
        )
    ).one()
    if record.request_hash != digest:
        raise KeyReused(f"This {HEADER} was already used for another request: send each new request with a new key.")
    response = jsonify(record.answer)
    response.status_code = status
    return response


def forget(connection: Connection) -> int:
    """Delete the records that are older than RETENTION, and return their number."""
    return connection.execute(
        delete(IdempotencyRecord).where(IdempotencyRecord.created_at < func.now() - RETENTION)
    ).rowcount
