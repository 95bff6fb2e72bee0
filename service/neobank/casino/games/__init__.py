"""The games that are played, and every sheet that ever was: rounds of an old one stay as checkable as the newest."""

from collections.abc import Mapping
from importlib.resources import files
from typing import Final

from neobank.casino.game import Game
from neobank.casino.games import glitch_grid, starlight_smuggler

GAMES: Final[Mapping[str, Game]] = {module.GAME.name: module.GAME for module in (glitch_grid, starlight_smuggler)}
"""By name; a further game is one more module here, and its sheet in casino/sheets."""


def _shipped() -> dict[str, Game]:
    texts = (entry.read_bytes() for entry in files("neobank.casino").joinpath("sheets").iterdir())
    return {game.sheet: game for game in map(Game.from_canonical, texts)}


SHEETS: Final[Mapping[str, Game]] = _shipped() | {game.sheet: game for game in GAMES.values()}
"""By hash. A file of casino/sheets is never removed: its name is its hash, and its content the canonical text."""
