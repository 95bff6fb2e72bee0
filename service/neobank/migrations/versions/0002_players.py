"""Players and their sessions."""

from alembic import op

from neobank.migrations import read_sql

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    op.get_bind().exec_driver_sql(read_sql("sql/0002_players.sql"))
