"""A payment to oneself is rejected before it locks a balance: a change of post_transfer, now defined in functions/."""

revision = "0011"
down_revision = "0010"


def upgrade() -> None:
    pass
