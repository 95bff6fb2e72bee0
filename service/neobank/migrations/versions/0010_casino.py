"""The casino: games and dials, seeds, rounds, free spins, limits."""

from alembic import op

from neobank.migrations import read_sql

revision = "0010"
down_revision = "0009"


def upgrade() -> None:
    op.get_bind().exec_driver_sql(read_sql("sql/0010_casino.sql"))
