"""Functions and views move to functions/ and views/; refuse_to_pay, which is not there any more, is dropped."""

from alembic import op

revision = "0014"
down_revision = "0013"

definitions = "76e2c4197a3d25c8c0aed84c800d2831db13dc58e80712506faecbb69c2cc987"


def upgrade() -> None:
    op.execute("DROP FUNCTION IF EXISTS refuse_to_pay(bigint[], text, boolean)")
