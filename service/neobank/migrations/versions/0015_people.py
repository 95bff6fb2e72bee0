"""One-time passwords work once."""

from alembic import op

from neobank.migrations import read_sql

revision = "0015"
down_revision = "0014"

definitions = "b1d3bb12163183cd77c5cd34eb3b0ca1eee1be816f38cc96cdb9606c6a3d3716"


def upgrade() -> None:
    op.get_bind().exec_driver_sql(read_sql("sql/0015_people.sql"))
