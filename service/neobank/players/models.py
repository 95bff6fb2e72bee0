"""The tables of players."""

from datetime import datetime
from typing import Final

from sqlalchemy import BigInteger, CheckConstraint, DateTime, ForeignKey, LargeBinary, Text, false, func, true
from sqlalchemy.orm import Mapped, mapped_column

from neobank.database import Base
from neobank.ledger.models import Account
from neobank.ledger.money import MAX_AMOUNT

MAX_FACTION: Final = 50


class Faction(Base):
    """A group of players; `Player.faction` contains its name."""

    __tablename__ = "factions"

    name: Mapped[str] = mapped_column(Text, primary_key=True)
    name_key: Mapped[str] = mapped_column(Text, unique=True)
    skeleton: Mapped[str | None] = mapped_column(Text, unique=True)
    description: Mapped[str | None] = mapped_column(Text)
    created_at: Mapped[datetime] = mapped_column(DateTime(timezone=True), server_default=func.now())


class Player(Base):
    """A player; the account has the name and the money."""

    __tablename__ = "players"

    account_id: Mapped[int] = mapped_column(BigInteger, ForeignKey(Account.id), primary_key=True, autoincrement=False)
    password_hash: Mapped[str] = mapped_column(Text)
    faction: Mapped[str | None] = mapped_column(Text, index=True)
    profile_picture: Mapped[str | None] = mapped_column(Text)
    is_admin: Mapped[bool] = mapped_column(server_default=false())
    must_change_password: Mapped[bool] = mapped_column(server_default=false())
    used_one_time_hash: Mapped[str | None] = mapped_column(Text)
    """The hash of the one-time password with which the player last logged in."""


class Picture(Base):
    """The image of a player as the bank stores it; `token` is the end of its path in `Player.profile_picture`."""

    __tablename__ = "pictures"
    __table_args__ = (CheckConstraint("octet_length(image) <= 262144", name="picture_is_small"),)

    account_id: Mapped[int] = mapped_column(
        BigInteger, ForeignKey(Player.account_id), primary_key=True, autoincrement=False
    )
    token: Mapped[str] = mapped_column(Text, unique=True)
    image: Mapped[bytes] = mapped_column(LargeBinary)


class RegistrationTerms(Base):
    """The opening balance of a registration, in hundredths: one row, which only the database owner can change.

    `require_explanation` (functions/organisers.sql) refuses a larger one; an import may pay more.
    """

    __tablename__ = "registration_terms"
    __table_args__ = (
        CheckConstraint("one", name="terms_are_one_row"),
        CheckConstraint(f"opening_balance BETWEEN 1 AND {MAX_AMOUNT}", name="opening_balance_is_possible"),
    )

    one: Mapped[bool] = mapped_column(primary_key=True, server_default=true())
    opening_balance: Mapped[int] = mapped_column(BigInteger, server_default="100000")


class ProvisionedAdministrator(Base):
    """The hash of the password that was last provisioned for an administrator: only a different one is set again."""

    __tablename__ = "provisioned_administrators"

    account_id: Mapped[int] = mapped_column(
        BigInteger, ForeignKey(Player.account_id), primary_key=True, autoincrement=False
    )
    given_password_hash: Mapped[str] = mapped_column(Text)
