"""An account that pays itself locks nothing."""

from alembic import op

from neobank.migrations import read_sql

revision = "0011"
down_revision = "0010"


def upgrade() -> None:
    op.get_bind().exec_driver_sql(read_sql("sql/0011_no_lock_out_of_order.sql"))
