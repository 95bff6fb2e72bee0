"""Vendors: the API keys of their terminals, and charges that players approve."""

from alembic import op

from neobank.migrations import read_sql

revision = "0007"
down_revision = "0006"


def upgrade() -> None:
    op.get_bind().exec_driver_sql(read_sql("sql/0007_vendors.sql"))
