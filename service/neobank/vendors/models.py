"""The tables of API keys and charges."""

from datetime import datetime

from sqlalchemy import BigInteger, CheckConstraint, DateTime, ForeignKey, Identity, Index, LargeBinary, Text, func, text
from sqlalchemy.orm import Mapped, mapped_column

from neobank.database import Base
from neobank.ledger.models import Account, Transfer


class ApiKey(Base):
    """A terminal's API key, as a hash; `account_id` is the vendor's account."""

    __tablename__ = "api_keys"
    __table_args__ = (
        CheckConstraint("scope IN ('charge', 'pay', 'debit')", name="scope_is_known"),
        Index("api_keys_unrevoked_idx", "id", postgresql_where=text("revoked_at IS NULL")),
    )

    id: Mapped[int] = mapped_column(BigInteger, Identity(always=True), primary_key=True)
    key_hash: Mapped[bytes] = mapped_column(LargeBinary, unique=True)
    prefix: Mapped[str] = mapped_column(Text)
    description: Mapped[str] = mapped_column(Text)
    scope: Mapped[str] = mapped_column(Text)
    account_id: Mapped[int] = mapped_column(BigInteger, ForeignKey(Account.id))
    created_by: Mapped[int] = mapped_column(BigInteger, ForeignKey(Account.id))
    created_at: Mapped[datetime] = mapped_column(DateTime(timezone=True), server_default=func.now())
    expires_at: Mapped[datetime | None] = mapped_column(DateTime(timezone=True))
    revoked_at: Mapped[datetime | None] = mapped_column(DateTime(timezone=True))


class Charge(Base):
    """A vendor's request for a payment, in hundredths; without a player, any player who has the code may pay it."""

    __tablename__ = "charges"
    __table_args__ = (
        CheckConstraint("amount > 0", name="charge_asks_for_something"),
        CheckConstraint("status IN ('pending', 'approved', 'declined', 'cancelled')", name="charge_status_is_known"),
        CheckConstraint("(status = 'approved') = (transfer_id IS NOT NULL)", name="approved_is_paid"),
        CheckConstraint("refund_transfer_id IS NULL OR transfer_id IS NOT NULL", name="refunded_was_paid"),
        Index("charges_open_idx", "player_id", "expires_at", "id", postgresql_where=text("status = 'pending'")),
    )

    id: Mapped[int] = mapped_column(BigInteger, Identity(always=True), primary_key=True)
    code: Mapped[str] = mapped_column(Text, unique=True)
    account_id: Mapped[int] = mapped_column(BigInteger, ForeignKey(Account.id))
    player_id: Mapped[int | None] = mapped_column(BigInteger, ForeignKey(Account.id))
    amount: Mapped[int] = mapped_column(BigInteger)
    memo: Mapped[str] = mapped_column(Text)
    status: Mapped[str] = mapped_column(Text, server_default="pending")
    created_at: Mapped[datetime] = mapped_column(DateTime(timezone=True), server_default=func.now())
    expires_at: Mapped[datetime] = mapped_column(DateTime(timezone=True))
    transfer_id: Mapped[int | None] = mapped_column(BigInteger, ForeignKey(Transfer.id), unique=True)
    refund_transfer_id: Mapped[int | None] = mapped_column(BigInteger, ForeignKey(Transfer.id), unique=True)
