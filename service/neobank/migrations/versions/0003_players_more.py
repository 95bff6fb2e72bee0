"""The device and time of a session, one-time passwords, factions, and the organisers' switches."""

from alembic import op
from sqlalchemy import Connection, text

from neobank import names
from neobank.migrations import read_sql

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    op.get_bind().exec_driver_sql(read_sql("sql/0003_players_more.sql"))
    adopt_factions(op.get_bind())


def adopt_factions(connection: Connection) -> None:
    """Create a faction for each text in `players.faction`, which was free text. Texts with the same key become one."""
    texts = connection.execute(text("SELECT DISTINCT faction FROM players WHERE faction IS NOT NULL ORDER BY faction"))
    for faction in texts.scalars().all():
        values = {"faction": faction, "key": names.key(faction)}
        connection.execute(
            text("INSERT INTO factions (name, name_key) VALUES (:faction, :key) ON CONFLICT DO NOTHING"), values
        )
        connection.execute(
            text(
                "UPDATE players SET faction = factions.name FROM factions "
                "WHERE players.faction = :faction AND name_key = :key AND factions.name <> :faction"
            ),
            values,
        )
