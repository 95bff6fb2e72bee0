"""The table of free spins. The casino's SQL functions write it; a player's profile shows their number."""

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    ColumnElement,
    ForeignKey,
    Integer,
    SmallInteger,
    SQLColumnExpression,
    Text,
    func,
    select,
)
from sqlalchemy.orm import Mapped, mapped_column

from neobank.database import Base
from neobank.ledger.models import Account


class FreeSpins(Base):
    """A player's unused free spins of a game, with the bet, dial and sheet of the round that awarded them."""

    __tablename__ = "free_spins"
    __table_args__ = (CheckConstraint("remaining >= 0", name="free_spins_run_out"),)

    account_id: Mapped[int] = mapped_column(BigInteger, ForeignKey(Account.id), primary_key=True, autoincrement=False)
    game: Mapped[str] = mapped_column(Text, primary_key=True)
    remaining: Mapped[int] = mapped_column(SmallInteger)
    line_bet: Mapped[int] = mapped_column(BigInteger)
    version_id: Mapped[int] = mapped_column(BigInteger)
    dial: Mapped[int] = mapped_column(Integer)
    sheet: Mapped[str] = mapped_column(Text)


def free_spins_of(account_id: SQLColumnExpression[int]) -> ColumnElement[int]:
    """Return the number of an account's unused free spins, over all games, as a scalar subquery."""
    remaining = select(func.coalesce(func.sum(FreeSpins.remaining), 0)).where(FreeSpins.account_id == account_id)
    return remaining.scalar_subquery()
