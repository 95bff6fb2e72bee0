"""More figures for the organisers' monitoring."""

from alembic import op

from neobank.migrations import read_sql

revision = "0009"
down_revision = "0008"


def upgrade() -> None:
    op.get_bind().exec_driver_sql(read_sql("sql/0009_figures.sql"))
