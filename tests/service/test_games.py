"""The games: the exact figures of their sheets at every dial, and the fast calculation compared with every grid."""

import hashlib
import itertools
import random
from dataclasses import replace
from fractions import Fraction
from importlib.resources import files

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from neobank.casino.engine import play
from neobank.casino.exact import DIAL_DEFAULT, DIAL_MAXIMUM, DIAL_MINIMUM, distribution, figures, largest_award
from neobank.casino.game import Bets, Game, Scatter
from neobank.casino.games import GAMES, SHEETS
from tests.service.grids import walked
from tests.service.support import neobank

GLITCH, STARLIGHT = GAMES["glitch_grid"], GAMES["starlight_smuggler"]

PINNED = {
    "glitch_grid": "c1c5a2c5225451209d074228cb6d190862fe22b647ce35917a154618225f8eb4",
    "starlight_smuggler": "5b81c3aa00af2fbe7e813e9824076a129a94b129ea1509ec56141cf711abeef3",
}


def test_each_game_uses_its_pinned_sheet() -> None:
    """A changed strip changes the hash: add the new sheet to casino/sheets, pin it here, and keep the previous one."""
    assert {name: game.sheet for name, game in GAMES.items()} == PINNED


def test_every_sheet_that_was_ever_used_is_shipped_unchanged() -> None:
    kept = {entry.name: entry.read_bytes() for entry in files("neobank.casino").joinpath("sheets").iterdir()}
    assert {f"{hashlib.sha256(text).hexdigest()}.json" for text in kept.values()} == set(kept)
    assert {f"{sheet}.json" for sheet in PINNED.values()} <= set(kept)
    for text in kept.values():
        assert Game.from_canonical(text).canonical == text
    assert {f"{sheet}.json" for sheet in SHEETS} == set(kept)


def test_a_changed_strip_changes_the_sheet_and_the_return() -> None:
    strip = GLITCH.tight[0]
    changed = replace(GLITCH, tight=(strip.replace("S", "P", 1), *GLITCH.tight[1:]))
    assert changed.sheet not in SHEETS
    assert figures(changed, DIAL_MINIMUM).returned != Fraction(1, 2)


def test_the_figures_of_glitch_grid() -> None:
    tight, default, loose = (figures(GLITCH, dial) for dial in (DIAL_MINIMUM, DIAL_DEFAULT, DIAL_MAXIMUM))
    assert (tight.returned, tight.hits) == (Fraction(1, 2), Fraction(17, 160))
    assert (loose.returned, loose.hits) == (Fraction(3, 2), Fraction(233, 800))
    assert (default.returned, default.hits) == (Fraction(102, 100), Fraction(4049, 20000))
    assert [one.variance for one in (tight, default, loose)] == [
        Fraction(5697, 640),
        Fraction(1380949, 80000),
        Fraction(78397, 3200),
    ]
    assert round(float(default.variance) ** 0.5, 2) == 4.15
    assert {one.largest for one in (tight, default, loose)} == {100}
    assert [len(strip) for strip in GLITCH.tight + GLITCH.loose] == [40] * 6


def test_the_figures_of_starlight_smuggler() -> None:
    tight, default, loose = (figures(STARLIGHT, dial) for dial in (DIAL_MINIMUM, DIAL_DEFAULT, DIAL_MAXIMUM))
    assert {one.free_spins for one in (tight, default, loose)} == {Fraction(2, 125)}
    assert (tight.line_return, loose.line_return) == (Fraction(25, 54), Fraction(25, 18))
    assert (tight.returned, default.returned, loose.returned) == (Fraction(1, 2), Fraction(102, 100), Fraction(3, 2))
    assert [one.hits for one in (tight, default, loose)] == [
        Fraction(93, 500),
        Fraction(21317, 67500),
        Fraction(5881, 13500),
    ]
    assert [one.variance for one in (tight, default, loose)] == [
        Fraction(18686543957, 7085880000),
        Fraction(3660433211009, 590490000000),
        Fraction(217651110133, 23619600000),
    ]
    assert round(float(default.variance) ** 0.5, 2) == 2.49
    assert (tight.largest, default.largest, loose.largest) == (260, 290, 290)
    assert [len(strip) for strip in STARLIGHT.loose] == [30, 30, 30, 36, 36]


@pytest.mark.parametrize("game", GAMES.values(), ids=lambda game: game.name)
@given(dial=st.integers(DIAL_MINIMUM, DIAL_MAXIMUM))
@settings(max_examples=60, deadline=None)
def test_the_return_equals_the_dial_exactly(game: Game, dial: int) -> None:
    assert figures(game, dial).returned == Fraction(dial, 10_000)


def test_the_largest_awards() -> None:
    assert [largest_award(game) for game in (GLITCH, STARLIGHT)] == [100, 290]


@pytest.mark.parametrize(
    ("shown", "award"),
    [
        ("#0S", 3),
        ("##0", 30),
        ("S0S", 0),
        ("###", 100),
        ("##.", 10),
        ("#.#", 0),
        ("...", 0),
        ("SS#", 50),
        ("S#S", 50),
        ("XX.", 4),
        (".XX", 0),
        ("#X#", 40),
        ("PPS", 2),
    ],
)
def test_glitch_grid_pays_its_highest_award_only(shown: str, award: int) -> None:
    reels = tuple(shown)
    assert play(replace(GLITCH, tight=reels, loose=reels), (0, 0, 0), loose=False).award == award


def test_starlight_pays_the_longest_run_from_the_left_of_each_line() -> None:
    def pays(*rows: str) -> tuple[int, int, bool]:
        reels = tuple("".join(row[reel] for row in rows) for reel in range(5))
        found = play(replace(STARLIGHT, tight=reels, loose=reels), (0,) * 5, loose=False)
        assert found.grid == rows
        return found.award, found.scatters, found.triggers

    assert pays("RRRRR", "MBMBM", "BMBMB") == (200, 0, False)
    assert pays("RRRR@", "MBMBM", "BMBMB") == (50, 1, False)
    assert pays("@RRRR", "MBMBM", "BMBMB") == (0, 1, False)
    assert pays("RR@RR", "MBMBM", "BMBMB") == (0, 1, False)
    assert pays("@@@@@", "@@@@@", "@@@@@") == (0, 15, True)
    assert pays("GGGGG", "GGGGG", "GGGGG") == (9 * 250, 0, False)
    assert pays("@RMRM", "M@BMB", "BM@BM") == (0, 3, True)


def drawn_game(chance: random.Random) -> Game:
    """Return a random small game with random lines and awards, with or without a wild and a scatter."""
    reels, rows = chance.randint(1, 4), chance.randint(1, 3)
    paying = "abc"[: chance.randint(1, 3)]
    wild = chance.choice([None, paying[0]])
    scatter = chance.choice([None, Scatter("@", chance.randint(1, 4), chance.randint(1, 7))])
    codes = paying + "." + ("@" if scatter else "")

    def strips(lengths: list[int]) -> tuple[str, ...]:
        return tuple("".join(chance.choices(codes, k=length)) for length in lengths)

    lengths = [chance.randint(rows, 6) for _ in range(reels)]
    return Game(
        name="drawn",
        rows=rows,
        symbols={code: code for code in codes},
        awards={code: tuple(sorted(chance.choices(range(12), k=reels))) for code in paying},
        wild=wild,
        scatter=scatter,
        lines=tuple("".join(str(chance.randrange(rows)) for _ in range(reels)) for _ in range(chance.randint(1, 4))),
        bets=Bets(1, 1, 1),
        tight=strips(lengths),
        loose=strips(lengths),
    )


@pytest.mark.parametrize("seed", range(60))
def test_the_fast_distribution_equals_the_one_of_every_grid(seed: int) -> None:
    game = drawn_game(random.Random(seed))  # noqa: S311
    for loose in (False, True):
        assert distribution(game, loose=loose) == walked(game, loose=loose)


def test_the_fast_distribution_is_right_for_glitch_grid_and_a_short_starlight() -> None:
    short = replace(
        STARLIGHT,
        tight=tuple(strip[:6] for strip in STARLIGHT.tight),
        loose=tuple(strip[-6:] for strip in STARLIGHT.loose),
    )
    for game in (GLITCH, short):
        for loose in (False, True):
            assert distribution(game, loose=loose) == walked(game, loose=loose)


@pytest.mark.parametrize("seed", range(20))
def test_return_and_variance_include_the_free_spins(seed: int) -> None:
    """The expected moments come from the convolution of the distributions of a paid spin and its free spins."""
    game = drawn_game(random.Random(1000 + seed))  # noqa: S311
    dial = random.Random(seed).randint(DIAL_MINIMUM, DIAL_MAXIMUM)  # noqa: S311
    one: dict[tuple[int, bool], Fraction] = {}
    for loose, weight in ((False, DIAL_MAXIMUM - dial), (True, dial - DIAL_MINIMUM)):
        counted = walked(game, loose=loose)
        for outcome, count in counted.items():
            one[outcome] = one.get(outcome, Fraction()) + Fraction(weight * count, 10_000 * sum(counted.values()))
    free = {0: Fraction(1)}
    for _ in range(game.free_spins_awarded):
        longer: dict[int, Fraction] = {}
        for (won, p), ((award, _), q) in itertools.product(free.items(), one.items()):
            longer[won + award] = longer.get(won + award, Fraction()) + p * q
        free = longer
    whole: dict[int, Fraction] = {}
    for (award, triggers), p in one.items():
        for won, q in free.items() if triggers else [(0, Fraction(1))]:
            whole[award + won] = whole.get(award + won, Fraction()) + p * q
    mean = sum(won * p for won, p in whole.items()) / len(game.lines)
    square = sum(won**2 * p for won, p in whole.items()) / len(game.lines) ** 2
    found = figures(game, dial)
    assert (found.returned, found.variance) == (mean, square - mean**2)


def test_the_report_contains_the_exact_figures() -> None:
    report = neobank("casino", "report", "--dial", "102.5")
    assert report.returncode == 0, report.stderr
    for expected in (*PINNED.values(), "17/160 = 10.62%", "41/40", "290 x", "2/125"):
        assert expected in report.stdout


@pytest.mark.parametrize(
    "change",
    [
        {"tight": ("S", "S")},
        {"tight": ("?",) * 3},
        {"lines": ("00",)},
        {"lines": ("001",)},
        {"awards": {"S": (0, 5)}},
        {"awards": {"S": (5, 4, 50)}},
        {"wild": "."},
        {"scatter": Scatter("S", 3, 5)},
    ],
)
def test_an_inconsistent_game_is_rejected(change: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="is invalid"):
        replace(GLITCH, **change)  # type: ignore[arg-type]
