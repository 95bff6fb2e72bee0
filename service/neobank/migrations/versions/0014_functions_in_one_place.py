"""Functions and views move to functions/ and views/; a function that is no longer defined there is dropped."""

from alembic import op

revision = "0014"
down_revision = "0013"

definitions = "d37f35e5c605b2f736d7bcf30c35599dea052aec231ab70e7b436a27ffd75703"


def upgrade() -> None:
    op.execute("DROP FUNCTION IF EXISTS refuse_to_pay(bigint[], text, boolean)")
