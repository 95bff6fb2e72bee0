"""The players' tables."""

from typing import Final

from sqlalchemy import BigInteger, ForeignKey, Text, false
from sqlalchemy.orm import Mapped, mapped_column

from neobank.database import Base
from neobank.ledger.models import Account

MAX_FACTION: Final = 50


class Player(Base):
    """A person of the game; the account holds the name and the money."""

    __tablename__ = "players"

    account_id: Mapped[int] = mapped_column(BigInteger, ForeignKey(Account.id), primary_key=True, autoincrement=False)
    password_hash: Mapped[str] = mapped_column(Text)
    faction: Mapped[str | None] = mapped_column(Text)
    profile_picture: Mapped[str | None] = mapped_column(Text)
    is_admin: Mapped[bool] = mapped_column(server_default=false())


class ProvisionedAdministrator(Base):
    """The password last given to an administrator from outside, as a hash: only a new one is set again."""

    __tablename__ = "provisioned_administrators"

    account_id: Mapped[int] = mapped_column(
        BigInteger, ForeignKey(Player.account_id), primary_key=True, autoincrement=False
    )
    given_password_hash: Mapped[str] = mapped_column(Text)
