"""The ledger's tables. Only functions/ledger.sql and functions/casino.sql write them; transfers are only inserted."""

from datetime import datetime
from typing import Final

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    DateTime,
    ForeignKey,
    Identity,
    Index,
    SmallInteger,
    Text,
    false,
    func,
    text,
)
from sqlalchemy.orm import Mapped, mapped_column

from neobank.database import Base
from neobank.ledger.money import MAX_BALANCE

# The two highest ids. Balances are locked in ascending order of account id, so SYSTEM and the house, the busiest
# accounts, are locked last and for the shortest time.
SYSTEM_ID: Final = 9_000_000_000_000_000_001
HOUSE_ID: Final = 9_000_000_000_000_000_002

SYSTEM_NUMBER: Final = "NC-SYST-EM00"
HOUSE_NUMBER: Final = "NC-CASA-0000"

MAX_MEMO: Final = 140


class Account(Base):
    """An account of a player, of SYSTEM (which issues all money) or of the casino's house."""

    __tablename__ = "accounts"
    __table_args__ = (
        CheckConstraint("shards > 0", name="account_has_shards"),
        CheckConstraint(f"NOT frozen OR id < {SYSTEM_ID}", name="only_players_freeze"),
        Index("accounts_number_prefix_idx", "number", postgresql_ops={"number": "text_pattern_ops"}),
        Index("accounts_name_key_prefix_idx", "name_key", postgresql_ops={"name_key": "text_pattern_ops"}),
        Index("accounts_name_words_idx", text("to_tsvector('simple', name_key)"), postgresql_using="gin"),
    )

    id: Mapped[int] = mapped_column(BigInteger, Identity(maxvalue=SYSTEM_ID - 1), primary_key=True)
    number: Mapped[str] = mapped_column(Text, unique=True)
    name: Mapped[str] = mapped_column(Text)
    name_key: Mapped[str] = mapped_column(Text, unique=True)
    skeleton: Mapped[str | None] = mapped_column(Text, unique=True)
    """`names.skeleton`; NULL if an older image opened the account, or if an account that looks alike had it already."""
    shards: Mapped[int] = mapped_column(SmallInteger, server_default="1")
    frozen: Mapped[bool] = mapped_column(Boolean, server_default=false())
    created_at: Mapped[datetime] = mapped_column(DateTime(timezone=True), server_default=func.now())


class Balance(Base):
    """A shard of an account's balance, in hundredths of ¤. A busy account has several, so that payers don't queue."""

    __tablename__ = "balances"
    __table_args__ = (
        CheckConstraint("balance >= floor", name="balance_not_below_floor"),
        CheckConstraint(f"balance BETWEEN -{MAX_BALANCE} AND {MAX_BALANCE}", name="balance_within_bounds"),
        {"postgresql_with": {"fillfactor": "50"}},
    )

    account_id: Mapped[int] = mapped_column(BigInteger, ForeignKey(Account.id), primary_key=True)
    shard: Mapped[int] = mapped_column(SmallInteger, primary_key=True)
    balance: Mapped[int] = mapped_column(BigInteger, server_default="0")
    floor: Mapped[int | None] = mapped_column(BigInteger)


class Transfer(Base):
    """A transfer of an amount, in hundredths of ¤, from one account to another; `kind` is one of `Kind`."""

    __tablename__ = "transfers"
    __table_args__ = (
        CheckConstraint("amount > 0", name="transfer_moves_something"),
        CheckConstraint("debit_account_id <> credit_account_id", name="transfer_between_two"),
        CheckConstraint(f"char_length(memo) <= {MAX_MEMO}", name="transfer_memo_is_short"),
        Index("transfers_debit_idx", "debit_account_id", "id"),
        Index("transfers_credit_idx", "credit_account_id", "id"),
    )

    id: Mapped[int] = mapped_column(BigInteger, Identity(always=True), primary_key=True)
    debit_account_id: Mapped[int] = mapped_column(BigInteger, ForeignKey(Account.id))
    credit_account_id: Mapped[int] = mapped_column(BigInteger, ForeignKey(Account.id))
    amount: Mapped[int] = mapped_column(BigInteger)
    kind: Mapped[str] = mapped_column(Text)
    memo: Mapped[str] = mapped_column(Text)
    actor_id: Mapped[int] = mapped_column(BigInteger, ForeignKey(Account.id))
    created_at: Mapped[datetime] = mapped_column(DateTime(timezone=True), server_default=func.now())


class Reversal(Base):
    """A reversed transfer, and the transfer that reversed it."""

    __tablename__ = "reversals"

    transfer_id: Mapped[int] = mapped_column(BigInteger, ForeignKey(Transfer.id), primary_key=True, autoincrement=False)
    reversal_id: Mapped[int] = mapped_column(BigInteger, ForeignKey(Transfer.id), unique=True)
