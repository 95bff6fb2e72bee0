"""New functions for a caller, a payment and a spin, which functions/ holds now."""

revision = "0013"
down_revision = "0012"


def upgrade() -> None:
    pass
