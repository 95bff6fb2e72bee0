"""Functions and views move to functions/ and views/; a function that is no longer defined there is dropped."""

from alembic import op

revision = "0014"
down_revision = "0013"

definitions = "3973a112fc287512e5e3aa2878ba0289d0a635192a1cda3bd60090f1a3fcc1b6"


def upgrade() -> None:
    op.execute("DROP FUNCTION IF EXISTS refuse_to_pay(bigint[], text, boolean)")
