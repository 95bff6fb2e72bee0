"""What a game returns, as exact fractions, without walking its grids.

A set of strips is gone over reel by reel. All that later reels can see of the reels before is a state: the money that
is decided, how many scatters there are (as far as they matter), and for each line which symbols its run may still be
of. Equal states are counted together, and there are a few hundred of them where there are 35 million grids.
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from functools import cache
from typing import Final

from neobank.casino.engine import window
from neobank.casino.game import Game

DIAL_MINIMUM: Final = 5_000
DIAL_MAXIMUM: Final = 15_000
DIAL_DEFAULT: Final = 10_200
"""Hundredths of a per cent of return: at the minimum every round is played on the tight strips, at the maximum on the
loose ones."""

DRAWN_FROM: Final = DIAL_MAXIMUM - DIAL_MINIMUM

Line = tuple[str, int] | None
"""The symbols that a line's run may still be of, and the best award of those it no longer can; None once decided."""

State = tuple[int, int, tuple[Line, ...]]


@dataclass(frozen=True, slots=True)
class Figures:
    """A paid spin with the free spins it awards; the unit of return and variance is its whole bet."""

    returned: Fraction
    hits: Fraction
    """The chance that its own lines pay."""
    variance: Fraction
    free_spins: Fraction
    """The chance that it awards them."""
    line_return: Fraction
    """What its own lines return."""
    largest: int
    """The largest sum of awards of one spin, in bets of a line."""


@cache
def distribution(game: Game, *, loose: bool) -> Mapping[tuple[int, bool], int]:
    """Count a set's grids by the sum of their awards and by whether they award free spins."""
    states: Counter[State] = Counter({(0, 0, (("".join(game.awards), 0),) * len(game.lines)): 1})
    for reel, strip in enumerate(game.strips(loose=loose)):
        windows = Counter(window(strip, stop, game.rows) for stop in range(len(strip)))
        rows = [int(line[reel]) for line in game.lines]
        following: Counter[State] = Counter()
        for state, count in states.items():
            for shown, times in windows.items():
                following[_next(game, state, shown, rows, reel)] += count * times
        states = following
    needed = game.scatter.needed if game.scatter else 1
    counted: Counter[tuple[int, bool]] = Counter()
    for (money, scatters, lines), count in states.items():
        undecided = sum(_award(game, line, game.reels) for line in lines)
        counted[money + undecided, scatters >= needed] += count
    return counted


@cache
def largest_award(game: Game) -> int:
    """Give the largest sum of awards of one spin on either set, in bets of a line."""
    return max(award for loose in (False, True) for award, _ in distribution(game, loose=loose))


@cache
def figures(game: Game, dial: int) -> Figures:
    """Compute a game's figures at a dial (hundredths of a per cent)."""
    mixed = _mixture(game, dial)
    lines = len(game.lines)
    spins = game.free_spins_awarded
    mean = sum((chance * award for (award, _), chance in mixed.items()), Fraction()) / lines
    square = sum((chance * award**2 for (award, _), chance in mixed.items()), Fraction()) / lines**2
    triggers = sum((chance for (_, awards), chance in mixed.items() if awards), Fraction())
    with_trigger = sum((chance * award for (award, awards), chance in mixed.items() if awards), Fraction()) / lines
    # Free spins are as good as each other and know nothing of the spin that awarded them.
    free_square = spins * (square - mean**2) + (spins * mean) ** 2
    returned = mean * (1 + spins * triggers)
    return Figures(
        returned=returned,
        hits=sum((chance for (award, _), chance in mixed.items() if award), Fraction()),
        variance=square + 2 * spins * mean * with_trigger + triggers * free_square - returned**2,
        free_spins=triggers,
        line_return=mean,
        largest=max(award for award, _ in mixed),
    )


def chance_of_loose(dial: int) -> Fraction:
    """Give the chance that a round at this dial is played on the loose strips."""
    return Fraction(dial - DIAL_MINIMUM, DRAWN_FROM)


def _mixture(game: Game, dial: int) -> dict[tuple[int, bool], Fraction]:
    mixed: dict[tuple[int, bool], Fraction] = {}
    for loose, weight in ((False, 1 - chance_of_loose(dial)), (True, chance_of_loose(dial))):
        counted = distribution(game, loose=loose)
        grids = sum(counted.values())
        for outcome, count in counted.items() if weight else ():
            mixed[outcome] = mixed.get(outcome, Fraction()) + weight * Fraction(count, grids)
    return mixed


def _next(game: Game, state: State, shown: str, rows: list[int], reel: int) -> State:
    money, scatters, lines = state
    following: list[Line] = []
    for line, row in zip(lines, rows, strict=True):
        if line is None:
            following.append(None)
            continue
        found, decided = _extend(game, line, shown[row], reel)
        money += decided
        following.append(found)
    if game.scatter:
        scatters = min(scatters + shown.count(game.scatter.symbol), game.scatter.needed)
    return money, scatters, tuple(following)


@cache
def _extend(game: Game, line: tuple[str, int], cell: str, reel: int) -> tuple[Line, int]:
    """Give what a line becomes when a reel shows this cell on it, and the money that this decides."""
    alive, best = line
    still = "".join(symbol for symbol in alive if cell in (symbol, game.wild))
    ended = "".join(symbol for symbol in alive if symbol not in still)
    best = _award(game, (ended, best), reel)
    return ((still, best), 0) if still else (None, best)


def _award(game: Game, line: Line, length: int) -> int:
    """Give the best of what is decided on a line and of what runs of this length pay."""
    if line is None:
        return 0
    symbols, best = line
    return max([best, *(game.awards[symbol][length - 1] for symbol in symbols if length)])
