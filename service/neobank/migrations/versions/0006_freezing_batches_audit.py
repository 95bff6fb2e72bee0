"""Frozen accounts and the audit log."""

from alembic import op

from neobank.migrations import read_sql

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    op.get_bind().exec_driver_sql(read_sql("sql/0006_freezing_batches_audit.sql"))
