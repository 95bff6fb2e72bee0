"""The organisers' table."""

from sqlalchemy import BigInteger, ForeignKey
from sqlalchemy.orm import Mapped, mapped_column

from neobank.database import Base
from neobank.ledger.models import Transfer


class Reversal(Base):
    """A transfer that was undone, by another transfer."""

    __tablename__ = "reversals"

    transfer_id: Mapped[int] = mapped_column(BigInteger, ForeignKey(Transfer.id), primary_key=True, autoincrement=False)
    reversal_id: Mapped[int] = mapped_column(BigInteger, ForeignKey(Transfer.id), unique=True)
