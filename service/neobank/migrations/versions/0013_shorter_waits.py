"""New functions that look up a caller, post a payment and settle a spin, now defined in functions/."""

revision = "0013"
down_revision = "0012"


def upgrade() -> None:
    pass
