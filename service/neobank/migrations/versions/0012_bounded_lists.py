"""Partial indexes: lists of open charges and active keys read no expired charge and no revoked key."""

from alembic import op

from neobank.migrations import read_sql

revision = "0012"
down_revision = "0011"


def upgrade() -> None:
    op.get_bind().exec_driver_sql(read_sql("sql/0012_bounded_lists.sql"))
