"""The table of the switches, which has one row."""

from sqlalchemy import CheckConstraint, Text, false, true
from sqlalchemy.orm import Mapped, mapped_column

from neobank.database import Base


class SwitchesRow(Base):
    """The state of the switches; the SQL functions that move money read `read_only` themselves."""

    __tablename__ = "switches"
    __table_args__ = (
        CheckConstraint("one", name="switches_are_one_row"),
        CheckConstraint("registration IN ('open', 'code', 'closed')", name="registration_is_known"),
        CheckConstraint(
            "registration <> 'code' OR (event_code IS NOT NULL AND event_code <> '')", name="a_code_to_ask_for"
        ),
    )

    one: Mapped[bool] = mapped_column(primary_key=True, server_default=true())
    read_only: Mapped[bool] = mapped_column(server_default=false())
    registration: Mapped[str] = mapped_column(Text, server_default="open")
    event_code: Mapped[str | None] = mapped_column(Text)
