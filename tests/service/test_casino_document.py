"""docs/casino.md: its figures are the sheets', and those of the system that was before, counted over every grid."""

from collections import Counter
from collections.abc import Mapping
from fractions import Fraction
from typing import Final

import pytest

from neobank.casino.exact import DIAL_DEFAULT, DIAL_MAXIMUM, DIAL_MINIMUM, distribution, figures
from neobank.casino.game import Game
from neobank.casino.games import GAMES
from neobank.ledger.models import HOUSE_NUMBER
from tests.service.grids import walked
from tools.postgres import REPOSITORY

WRITTEN = (REPOSITORY / "docs" / "casino.md").read_text(encoding="utf-8")
GLITCH, STARLIGHT = GAMES["glitch_grid"], GAMES["starlight_smuggler"]


def every_window(symbols: str, rows: int) -> str:
    """Give a strip that shows each window of so many rows at one stop: a de Bruijn sequence."""
    strip = symbols[0] * rows
    seen = {strip}
    while True:
        for symbol in reversed(symbols):
            window = strip[len(strip) - rows + 1 :] + symbol
            if window not in seen:
                seen.add(window)
                strip += symbol
                break
        else:
            return strip[: len(symbols) ** rows]


def before(game: Game, symbols: str) -> Game:
    """The game of the old system: the same awards on the same lines, every symbol equally likely in every cell."""
    strips = (every_window(symbols, game.rows),) * game.reels
    return Game(
        name=game.name,
        rows=game.rows,
        symbols={code: game.symbols[code] for code in symbols},
        awards=game.awards,
        lines=game.lines,
        bets=game.bets,
        scatter=game.scatter,
        tight=strips,
        loose=strips,
    )


OLD_GLITCH: Final = before(GLITCH, "S0PX#")
OLD_STARLIGHT: Final = before(STARLIGHT, "RMBG*@")
SETTING: Final = Fraction(102, 100)


def chances(game: Game) -> Mapping[tuple[int, bool], Fraction]:
    counted = distribution(game, loose=False)
    return {outcome: Fraction(count, sum(counted.values())) for outcome, count in counted.items()}


def returned(game: Game) -> Fraction:
    """Give what one spin returned: its summed award times the setting, cut to an integer."""
    return sum(p * int(award * SETTING) for (award, _), p in chances(game).items()) / Fraction(len(game.lines))


def test_every_window_is_shown_once() -> None:
    for symbols, rows in (("ab", 2), ("S0PX#", 1), ("RMBG*@", 3)):
        strip = every_window(symbols, rows)
        shown = Counter((strip * 2)[stop : stop + rows] for stop in range(len(strip)))
        assert (len(shown), {*shown.values()}) == (len(symbols) ** rows, {1})


def test_the_old_glitch_grid_returned_more_than_twice_what_it_said() -> None:
    assert distribution(OLD_GLITCH, loose=False) == walked(OLD_GLITCH, loose=False)
    assert returned(OLD_GLITCH) == Fraction(2712, 1000)
    assert "271.2 %" in WRITTEN


def test_the_old_starlight_returned_what_nobody_had_said() -> None:
    alone = returned(OLD_STARLIGHT)
    awarded = sum(p for (_, triggers), p in chances(OLD_STARLIGHT).items() if triggers)
    assert f"{float(alone):.1%}" == "49.6%"
    assert f"{float(alone * (1 + 5 * awarded)):.1%}" == "165.6%"
    for figure in ("49.6 %", "165.6 %", f"{100 * float(awarded):.1f} %"):
        assert figure in WRITTEN, figure
    assert f"{100 * float(figures(STARLIGHT, DIAL_DEFAULT).line_return):.1f} %" in WRITTEN


@pytest.mark.parametrize("game", GAMES.values(), ids=lambda game: game.name)
def test_the_document_has_the_sheets_figures(game: Game) -> None:
    assert game.sheet in WRITTEN
    for dial in (DIAL_MINIMUM, DIAL_DEFAULT, DIAL_MAXIMUM):
        found = figures(game, dial)
        hits, deviation = 100 * float(found.hits), float(found.variance) ** 0.5
        figures_at = f"{found.returned} | {hits:.1f} % | {deviation:.2f} | {found.largest}"
        assert f"| {game.path_name} | {dial // 100} % | {figures_at} |" in WRITTEN


@pytest.mark.parametrize("game", GAMES.values(), ids=lambda game: game.name)
def test_the_document_has_the_paytables(game: Game) -> None:
    for code, awards in game.awards.items():
        paid = " | ".join(str(award) for award in awards if award)
        assert f"| {game.symbols[code]} | {paid} |" in WRITTEN, code


def test_the_document_says_how_the_house_is_filled() -> None:
    assert HOUSE_NUMBER in WRITTEN
    assert "can predict" in WRITTEN
