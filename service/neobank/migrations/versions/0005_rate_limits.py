"""Counters of the rate limits."""

from alembic import op

from neobank.migrations import read_sql

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    op.get_bind().exec_driver_sql(read_sql("sql/0005_rate_limits.sql"))
