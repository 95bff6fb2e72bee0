"""Functions and views move to functions/ and views/."""

revision = "0014"
down_revision = "0013"

definitions = "b1d3bb12163183cd77c5cd34eb3b0ca1eee1be816f38cc96cdb9606c6a3d3716"


def upgrade() -> None:
    pass
