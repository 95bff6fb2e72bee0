"""The casino's tables. The application's role writes them only through functions/casino.sql."""

from datetime import date, datetime

from sqlalchemy import (
    ARRAY,
    BigInteger,
    CheckConstraint,
    Computed,
    DateTime,
    ForeignKey,
    Identity,
    Index,
    Integer,
    LargeBinary,
    SmallInteger,
    Text,
    UniqueConstraint,
    func,
    true,
)
from sqlalchemy.orm import Mapped, mapped_column

from neobank.casino.exact import DIAL_MAXIMUM, DIAL_MINIMUM
from neobank.casino.fairness import SEED_BYTES
from neobank.database import Base
from neobank.ledger.models import Account


class GameRow(Base):
    """A game, and whether it is open."""

    __tablename__ = "games"

    name: Mapped[str] = mapped_column(Text, primary_key=True)
    is_enabled: Mapped[bool] = mapped_column(server_default=true())
    updated_at: Mapped[datetime] = mapped_column(DateTime(timezone=True), server_default=func.now())


class DialVersion(Base):
    """A version of a game's dial, in hundredths of a per cent; the newest is in force."""

    __tablename__ = "dial_versions"
    __table_args__ = (
        CheckConstraint(f"dial BETWEEN {DIAL_MINIMUM} AND {DIAL_MAXIMUM}", name="dial_is_possible"),
        Index("dial_versions_game_idx", "game", "id"),
    )

    id: Mapped[int] = mapped_column(BigInteger, Identity(always=True), primary_key=True)
    game: Mapped[str] = mapped_column(Text, ForeignKey(GameRow.name))
    dial: Mapped[int] = mapped_column(Integer)
    actor_id: Mapped[int] = mapped_column(BigInteger, ForeignKey(Account.id))
    created_at: Mapped[datetime] = mapped_column(DateTime(timezone=True), server_default=func.now())


class Seed(Base):
    """A player's server seed: the next one (without a client seed), the one in use, or a retired one."""

    __tablename__ = "seeds"
    __table_args__ = (
        CheckConstraint(f"octet_length(server_seed) = {SEED_BYTES}", name="server_seed_is_whole"),
        CheckConstraint("(retired_at IS NULL) = (rounds IS NULL)", name="retired_with_its_rounds"),
    )

    id: Mapped[int] = mapped_column(BigInteger, Identity(always=True), primary_key=True)
    account_id: Mapped[int] = mapped_column(BigInteger, ForeignKey(Account.id), index=True)
    server_seed: Mapped[bytes] = mapped_column(LargeBinary)
    commitment: Mapped[str] = mapped_column(Text, Computed("encode(sha256(server_seed), 'hex')", persisted=True))
    client_seed: Mapped[str | None] = mapped_column(Text)
    rounds: Mapped[int | None] = mapped_column(Integer)
    created_at: Mapped[datetime] = mapped_column(DateTime(timezone=True), server_default=func.now())
    retired_at: Mapped[datetime | None] = mapped_column(DateTime(timezone=True))


class CasinoPlayer(Base):
    """A player's casino state: seeds, nonce, the day's net bets, limits; amounts in hundredths of ¤."""

    __tablename__ = "casino_players"
    __table_args__ = (
        CheckConstraint("daily_loss_limit >= 0", name="limit_is_no_gain"),
        CheckConstraint("pending_limit >= 0", name="pending_limit_is_no_gain"),
        {"postgresql_with": {"fillfactor": "50"}},
    )

    account_id: Mapped[int] = mapped_column(BigInteger, ForeignKey(Account.id), primary_key=True, autoincrement=False)
    seed_id: Mapped[int] = mapped_column(BigInteger, ForeignKey(Seed.id))
    next_seed_id: Mapped[int] = mapped_column(BigInteger, ForeignKey(Seed.id))
    nonce: Mapped[int] = mapped_column(Integer, server_default="0")
    day: Mapped[date | None]
    day_net: Mapped[int] = mapped_column(BigInteger, server_default="0")
    daily_loss_limit: Mapped[int | None] = mapped_column(BigInteger)
    pending_limit: Mapped[int | None] = mapped_column(BigInteger)
    pending_from: Mapped[datetime | None] = mapped_column(DateTime(timezone=True))
    excluded_until: Mapped[datetime | None] = mapped_column(DateTime(timezone=True))


class RoundRow(Base):
    """A played round; amounts in hundredths of ¤, the dial in hundredths of a per cent."""

    __tablename__ = "rounds"
    __table_args__ = (
        UniqueConstraint("seed_id", "nonce", name="one_round_a_nonce"),
        Index("rounds_account_id_idx", "account_id", "id"),
    )

    id: Mapped[int] = mapped_column(BigInteger, Identity(always=True), primary_key=True)
    account_id: Mapped[int] = mapped_column(BigInteger)
    seed_id: Mapped[int] = mapped_column(BigInteger, ForeignKey(Seed.id))
    nonce: Mapped[int] = mapped_column(Integer)
    game: Mapped[str] = mapped_column(Text)
    version_id: Mapped[int] = mapped_column(BigInteger)
    dial: Mapped[int] = mapped_column(Integer)
    sheet: Mapped[str] = mapped_column(Text)
    loose: Mapped[bool]
    stops: Mapped[list[int]] = mapped_column(ARRAY(SmallInteger))
    free: Mapped[bool]
    line_bet: Mapped[int] = mapped_column(BigInteger)
    bet: Mapped[int] = mapped_column(BigInteger)
    win: Mapped[int] = mapped_column(BigInteger)
    awarded: Mapped[int] = mapped_column(SmallInteger)
    created_at: Mapped[datetime] = mapped_column(DateTime(timezone=True))
