"""The engine of all games: the grid that the reels show at their stops, and the awards of its lines."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

from neobank.casino.game import Game


@dataclass(frozen=True, slots=True)
class WinningLine:
    """A line that pays: its index in `Game.lines`, the run's symbol and length, the award as a multiple of its bet."""

    line: int
    symbol: str
    count: int
    award: int


@dataclass(frozen=True, slots=True)
class Outcome:
    """The outcome of a spin: the rows of symbol codes, the sum of all lines' awards, and the number of scatters."""

    grid: tuple[str, ...]
    winning_lines: tuple[WinningLine, ...]
    award: int
    scatters: int
    triggers: bool
    """Whether this outcome awards free spins if the spin is paid."""


def play(game: Game, stops: Sequence[int], *, loose: bool) -> Outcome:
    """Evaluate the grid at these stops. A reel shows its stop in row 0 and the following stops below; strips wrap."""
    strips = game.strips(loose=loose)
    shown = "".join([window(strip, stop, game.rows) for strip, stop in zip(strips, stops, strict=True)])
    winning = []
    for index, path in enumerate(game.paths):
        symbol, count, award = best_run(game, "".join([shown[cell] for cell in path]))
        if award:
            winning.append(WinningLine(index, symbol, count, award))
    scatters = shown.count(game.scatter.symbol) if game.scatter else 0
    return Outcome(
        grid=tuple(shown[row :: game.rows] for row in range(game.rows)),
        winning_lines=tuple(winning),
        award=sum(line.award for line in winning),
        scatters=scatters,
        triggers=game.scatter is not None and scatters >= game.scatter.needed,
    )


def window(strip: str, stop: int, rows: int) -> str:
    """Return `rows` consecutive symbols of a strip, beginning with a stop; the first stop follows the last."""
    return (strip + strip[: rows - 1])[stop : stop + rows]


@lru_cache(maxsize=100_000)
def best_run(game: Game, cells: str) -> tuple[str, int, int]:
    """Return the run from the first reel that has the highest award: its symbol, its length and the award.

    `cells` are the symbol codes on the line. If no run pays, return ("", 0, 0).
    """
    best = ("", 0, 0)
    for symbol, awards in game.awards.items():
        matching = {symbol, game.wild}
        count = next((reel for reel, cell in enumerate(cells) if cell not in matching), len(cells))
        if count and awards[count - 1] > best[2]:
            best = (symbol, count, awards[count - 1])
    return best
