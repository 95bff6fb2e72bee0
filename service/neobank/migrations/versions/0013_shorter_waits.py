"""Less to plan and less to wait for: who asks, a payment, and a house whose money lies together."""

from alembic import op

from neobank.migrations import read_sql

revision = "0013"
down_revision = "0012"


def upgrade() -> None:
    op.get_bind().exec_driver_sql(read_sql("sql/0013_shorter_waits.sql"))
