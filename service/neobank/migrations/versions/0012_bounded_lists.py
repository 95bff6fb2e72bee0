"""Lists of what is open read nothing of what is over."""

from alembic import op

from neobank.migrations import read_sql

revision = "0012"
down_revision = "0011"


def upgrade() -> None:
    op.get_bind().exec_driver_sql(read_sql("sql/0012_bounded_lists.sql"))
