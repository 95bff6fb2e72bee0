"""The games in use, and all sheets that were ever in use, so that rounds on old sheets remain verifiable."""

from collections.abc import Mapping
from importlib.resources import files
from typing import Final

from neobank.casino.game import Game
from neobank.casino.games import glitch_grid, starlight_smuggler

GAMES: Final[Mapping[str, Game]] = {module.GAME.name: module.GAME for module in (glitch_grid, starlight_smuggler)}
"""The games by name. To add one, add a module to this package and the sheet to casino/sheets (docs/casino.md)."""


def _stored() -> dict[str, Game]:
    texts = (entry.read_bytes() for entry in files("neobank.casino").joinpath("sheets").iterdir())
    return {game.sheet: game for game in map(Game.from_canonical, texts)}


SHEETS: Final[Mapping[str, Game]] = _stored() | {game.sheet: game for game in GAMES.values()}
"""All sheets by hash. The name of a file in casino/sheets is the hash of its content. No file is ever removed."""
