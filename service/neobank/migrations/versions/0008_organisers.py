"""Reversals, and the indexes of the organisers' searches."""

from alembic import op

from neobank.migrations import read_sql

revision = "0008"
down_revision = "0007"


def upgrade() -> None:
    op.get_bind().exec_driver_sql(read_sql("sql/0008_organisers.sql"))
