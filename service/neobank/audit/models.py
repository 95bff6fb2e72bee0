"""The table of the audit log. Only `record_audit` (functions/audit.sql) inserts rows; none is updated or deleted."""

from datetime import datetime

from sqlalchemy import BigInteger, DateTime, ForeignKey, Identity, LargeBinary, Text
from sqlalchemy.orm import Mapped, mapped_column

from neobank.database import Base
from neobank.ledger.models import Account


class AuditLog(Base):
    """An action of an organiser and its target. `details` is JSON stored as text, because the hash covers its bytes."""

    __tablename__ = "audit_logs"

    id: Mapped[int] = mapped_column(BigInteger, Identity(always=True), primary_key=True)
    created_at: Mapped[datetime] = mapped_column(DateTime(timezone=True))
    actor_id: Mapped[int] = mapped_column(BigInteger, ForeignKey(Account.id))
    action: Mapped[str] = mapped_column(Text)
    target: Mapped[str] = mapped_column(Text)
    details: Mapped[str] = mapped_column(Text)
    hash: Mapped[bytes] = mapped_column(LargeBinary)
