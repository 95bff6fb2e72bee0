"""Saved responses of requests with an Idempotency-Key."""

from alembic import op

from neobank.migrations import read_sql

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    op.get_bind().exec_driver_sql(read_sql("sql/0004_idempotency.sql"))
