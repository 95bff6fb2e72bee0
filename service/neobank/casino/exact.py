"""The return of a game and related figures as exact fractions, without enumerating all grids.

The computation processes a set of strips reel by reel. Everything that later reels need to know of the reels before is
a state: the sum of the awards that are decided, the number of scatters (counted up to the number needed), and for each
line the symbols that its run can still consist of. Equal states are counted together: there are a few hundred states
for 35 million grids.
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
"""Hundredths of a per cent of return. At the minimum every round is played on the tight strips, at the maximum on the
loose strips."""

DIAL_SPAN: Final = DIAL_MAXIMUM - DIAL_MINIMUM
"""A round's set of strips is drawn as a number below this."""

Line = tuple[str, int] | None
"""The symbols that a line's run can still consist of, and the highest award of the runs that have ended; None once the
award of the line is decided."""

State = tuple[int, int, tuple[Line, ...]]
"""The sum of the decided awards, the number of scatters, and the lines."""


@dataclass(frozen=True, slots=True)
class Figures:
    """Figures of a paid spin including the free spins that it awards. The unit of return and variance is its bet."""

    returned: Fraction
    hits: Fraction
    """The probability that the lines of the paid spin itself pay."""
    variance: Fraction
    free_spins: Fraction
    """The probability that it awards free spins."""
    line_return: Fraction
    """The return of the lines of the paid spin itself, without free spins."""
    largest: int
    """The largest sum of awards of one spin, as a multiple of the bet per line."""


@cache
def distribution(game: Game, *, loose: bool) -> Mapping[tuple[int, bool], int]:
    """Return the number of grids of a set of strips, by the sum of their awards and whether they award free spins."""
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
    for (decided, scatters, lines), count in states.items():
        full_runs = sum(_award(game, line, game.reels) for line in lines)
        counted[decided + full_runs, scatters >= needed] += count
    return counted


@cache
def largest_award(game: Game) -> int:
    """Return the largest sum of awards of one spin on either set, as a multiple of the bet per line."""
    return max(award for loose in (False, True) for award, _ in distribution(game, loose=loose))


@cache
def figures(game: Game, dial: int) -> Figures:
    """Return a game's figures at a dial (hundredths of a per cent)."""
    mixed = _mixture(game, dial)
    lines = len(game.lines)
    spins = game.free_spins_awarded
    mean = sum((p * award for (award, _), p in mixed.items()), Fraction()) / lines
    square = sum((p * award**2 for (award, _), p in mixed.items()), Fraction()) / lines**2
    triggers = sum((p for (_, awards), p in mixed.items() if awards), Fraction())
    with_trigger = sum((p * award for (award, awards), p in mixed.items() if awards), Fraction()) / lines
    # Free spins are identically distributed, and independent of each other and of the spin that awarded them.
    free_square = spins * (square - mean**2) + (spins * mean) ** 2
    returned = mean * (1 + spins * triggers)
    return Figures(
        returned=returned,
        hits=sum((p for (award, _), p in mixed.items() if award), Fraction()),
        variance=square + 2 * spins * mean * with_trigger + triggers * free_square - returned**2,
        free_spins=triggers,
        line_return=mean,
        largest=max(award for award, _ in mixed),
    )


def chance_of_loose(dial: int) -> Fraction:
    """Return the probability that a round at this dial is played on the loose strips."""
    return Fraction(dial - DIAL_MINIMUM, DIAL_SPAN)


def _mixture(game: Game, dial: int) -> dict[tuple[int, bool], Fraction]:
    mixed: dict[tuple[int, bool], Fraction] = {}
    for loose, weight in ((False, 1 - chance_of_loose(dial)), (True, chance_of_loose(dial))):
        counted = distribution(game, loose=loose)
        grids = sum(counted.values())
        for outcome, count in counted.items() if weight else ():
            mixed[outcome] = mixed.get(outcome, Fraction()) + weight * Fraction(count, grids)
    return mixed


def _next(game: Game, state: State, shown: str, rows: list[int], reel: int) -> State:
    decided, scatters, lines = state
    following: list[Line] = []
    for line, row in zip(lines, rows, strict=True):
        if line is None:
            following.append(None)
            continue
        extended, award = _extend(game, line, shown[row], reel)
        decided += award
        following.append(extended)
    if game.scatter:
        scatters = min(scatters + shown.count(game.scatter.symbol), game.scatter.needed)
    return decided, scatters, tuple(following)


@cache
def _extend(game: Game, line: tuple[str, int], cell: str, reel: int) -> tuple[Line, int]:
    """Return a line after the next reel shows this cell on it, and its award if that decides it (otherwise 0)."""
    possible, best = line
    continued = "".join(symbol for symbol in possible if cell in (symbol, game.wild))
    ended = "".join(symbol for symbol in possible if symbol not in continued)
    best = _award(game, (ended, best), reel)
    return ((continued, best), 0) if continued else (None, best)


def _award(game: Game, line: Line, length: int) -> int:
    """Return the highest of the award of a line so far and the awards of its possible runs at this length."""
    if line is None:
        return 0
    symbols, best = line
    return max([best, *(game.awards[symbol][length - 1] for symbol in symbols if length)])
