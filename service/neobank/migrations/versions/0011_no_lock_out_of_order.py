"""A change of post_transfer, which functions/ holds now: a payment to oneself is rejected before it locks a balance."""

revision = "0011"
down_revision = "0010"


def upgrade() -> None:
    pass
