"""The one engine: what a game's reels show at their stops, and what that pays."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

from neobank.casino.game import Game


@dataclass(frozen=True, slots=True)
class WinningLine:
    """A line that pays: its place in the game's lines, the run's symbol and length, and the award in bets of a line."""

    line: int
    symbol: str
    count: int
    award: int


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a spin shows and pays: the rows of symbols' codes, the sum of all lines' awards, how many scatters."""

    grid: tuple[str, ...]
    winning_lines: tuple[WinningLine, ...]
    award: int
    scatters: int
    triggers: bool
    """Whether a paid spin awards free spins."""


def play(game: Game, stops: Sequence[int], *, loose: bool) -> Outcome:
    """Evaluate the grid at these stops: a reel's stop shows in row 0, the next stops below it, and round again."""
    strips = game.strips(loose=loose)
    shown = "".join([window(strip, stop, game.rows) for strip, stop in zip(strips, stops, strict=True)])
    found = []
    for place, path in enumerate(game.paths):
        symbol, count, award = best_run(game, "".join([shown[cell] for cell in path]))
        if award:
            found.append(WinningLine(place, symbol, count, award))
    scatters = shown.count(game.scatter.symbol) if game.scatter else 0
    return Outcome(
        grid=tuple(shown[row :: game.rows] for row in range(game.rows)),
        winning_lines=tuple(found),
        award=sum(line.award for line in found),
        scatters=scatters,
        triggers=game.scatter is not None and scatters >= game.scatter.needed,
    )


def window(strip: str, stop: int, rows: int) -> str:
    """Show so many symbols of a strip from a stop on."""
    return (strip + strip[: rows - 1])[stop : stop + rows]


@lru_cache(maxsize=100_000)
def best_run(game: Game, cells: str) -> tuple[str, int, int]:
    """Find what a line pays: of all symbols' runs from the first reel, the one with the highest award.

    Gives the symbol, the run's length and the award, which is 0 where nothing pays.
    """
    best = ("", 0, 0)
    for symbol, awards in game.awards.items():
        alike = {symbol, game.wild}
        count = next((place for place, cell in enumerate(cells) if cell not in alike), len(cells))
        if count and awards[count - 1] > best[2]:
            best = (symbol, count, awards[count - 1])
    return best
