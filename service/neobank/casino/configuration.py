"""What organisers set: which games are open, and each one's dial, of which every version stays known."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from sqlalchemy import Connection, select, text

from neobank.casino.game import Game
from neobank.casino.games import GAMES
from neobank.casino.models import DialVersion, GameRow
from neobank.errors import NotFound


@dataclass(frozen=True, slots=True)
class Version:
    """A dial (hundredths of a per cent) that a game had from a moment on."""

    id: int
    dial: int
    since: datetime


@dataclass(frozen=True, slots=True)
class Configuration:
    """A game as it is set; the last version is in force."""

    game: Game
    is_enabled: bool
    updated_at: datetime
    versions: Sequence[Version]

    @property
    def current(self) -> Version:
        """The version in force."""
        return self.versions[-1]


_OPEN: Final = select(GameRow.name).where(GameRow.is_enabled).order_by(GameRow.name)
_SET: Final = text("SELECT set_game(:game, :enabled, :dial, :actor)")


def open_games(connection: Connection) -> Sequence[str]:
    """Name the games that are open."""
    return [name for name in connection.execute(_OPEN).scalars() if name in GAMES]


def configurations(connection: Connection) -> Sequence[Configuration]:
    """Look at every game."""
    rows = connection.execute(select(GameRow.name, GameRow.is_enabled, GameRow.updated_at).order_by(GameRow.name)).all()
    versions = connection.execute(
        select(DialVersion.game, DialVersion.id, DialVersion.dial, DialVersion.created_at).order_by(DialVersion.id)
    ).all()
    return [
        Configuration(
            GAMES[name],
            is_enabled,
            updated_at,
            [Version(id_, dial, since) for game, id_, dial, since in versions if game == name],
        )
        for name, is_enabled, updated_at in rows
        if name in GAMES
    ]


def configure(
    connection: Connection, name: str, *, is_enabled: bool | None, dial: int | None, by: int
) -> Configuration:
    """Open or close a game and set its dial, as far as they are given. Raises NotFound."""
    if name not in GAMES:
        raise NotFound(f"There is no game {name}: there are {', '.join(GAMES)}.")
    connection.execute(_SET, {"game": name, "enabled": is_enabled, "dial": dial, "actor": by})
    return next(found for found in configurations(connection) if found.game.name == name)
