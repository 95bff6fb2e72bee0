"""The organisers' settings: which games are open, and all versions of each game's dial."""

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
    """A version of a game's dial (hundredths of a per cent), in force since a time."""

    id: int
    dial: int
    since: datetime


@dataclass(frozen=True, slots=True)
class Configuration:
    """A game with its settings; `versions` is in ascending order."""

    game: Game
    is_enabled: bool
    updated_at: datetime
    versions: Sequence[Version]

    @property
    def current(self) -> Version:
        """The version in force: the newest."""
        return self.versions[-1]


_OPEN: Final = select(GameRow.name).where(GameRow.is_enabled).order_by(GameRow.name)
_SET: Final = text("SELECT set_game(:game, :enabled, :dial, :actor)")


def open_games(connection: Connection) -> Sequence[str]:
    """Return the names of the open games, in alphabetical order."""
    return [name for name in connection.execute(_OPEN).scalars() if name in GAMES]


def configurations(connection: Connection) -> Sequence[Configuration]:
    """Return the configurations of all games, ordered by name."""
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
    """Open or close a game and set its dial (hundredths of a per cent); None leaves a setting unchanged.

    Return the new configuration. Raise NotFound for an unknown game.
    """
    if name not in GAMES:
        raise NotFound(f"There is no game {name}. The games are {', '.join(GAMES)}.")
    connection.execute(_SET, {"game": name, "enabled": is_enabled, "dial": dial, "actor": by})
    return next(configuration for configuration in configurations(connection) if configuration.game.name == name)
