"""The ledger: accounts, balances and transfers."""

from alembic import op

from neobank.migrations import read_sql

revision = "0001"
down_revision = None


def upgrade() -> None:
    op.get_bind().exec_driver_sql(read_sql("sql/0001_ledger.sql"))
