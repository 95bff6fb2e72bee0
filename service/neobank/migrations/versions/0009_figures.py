"""More columns of the view ledger_figures, which is now defined in views/."""

revision = "0009"
down_revision = "0008"


def upgrade() -> None:
    pass
