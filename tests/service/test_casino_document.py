"""docs/casino.md has the figures of the sheets, and those of the previous system, which are counted over every grid."""

import re
from collections import Counter
from collections.abc import Mapping
from fractions import Fraction
from typing import Final

import pytest
from flask import Flask

from neobank.casino.exact import DIAL_DEFAULT, DIAL_MAXIMUM, DIAL_MINIMUM, distribution, figures
from neobank.casino.game import Game
from neobank.casino.games import GAMES
from neobank.ledger.models import HOUSE_NUMBER
from tests.service.grids import walked
from tools.postgres import REPOSITORY

DOCUMENT = (REPOSITORY / "docs" / "casino.md").read_text(encoding="utf-8")
GLITCH, STARLIGHT = GAMES["glitch_grid"], GAMES["starlight_smuggler"]


def every_window(symbols: str, rows: int) -> str:
    """Return a strip that shows each window of `rows` symbols at exactly one stop: a de Bruijn sequence."""
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


def previous(game: Game, symbols: str) -> Game:
    """Return the game of the previous system: the same awards and lines, with equally likely symbols in every cell."""
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


PREVIOUS_GLITCH: Final = previous(GLITCH, "S0PX#")
PREVIOUS_STARLIGHT: Final = previous(STARLIGHT, "RMBG*@")
SETTING: Final = Fraction(102, 100)


def probabilities(game: Game) -> Mapping[tuple[int, bool], Fraction]:
    counted = distribution(game, loose=False)
    return {outcome: Fraction(count, sum(counted.values())) for outcome, count in counted.items()}


def expected_return(game: Game) -> Fraction:
    """Return the expected return of a spin: its summed award times the setting, truncated to an integer."""
    return sum(p * int(award * SETTING) for (award, _), p in probabilities(game).items()) / Fraction(len(game.lines))


def test_a_strip_shows_every_window_once() -> None:
    for symbols, rows in (("ab", 2), ("S0PX#", 1), ("RMBG*@", 3)):
        strip = every_window(symbols, rows)
        shown = Counter((strip * 2)[stop : stop + rows] for stop in range(len(strip)))
        assert (len(shown), {*shown.values()}) == (len(symbols) ** rows, {1})


def test_the_document_has_the_return_of_the_previous_glitch_grid() -> None:
    assert distribution(PREVIOUS_GLITCH, loose=False) == walked(PREVIOUS_GLITCH, loose=False)
    assert expected_return(PREVIOUS_GLITCH) == Fraction(2712, 1000)
    assert "271.2 %" in DOCUMENT


def test_the_document_has_the_returns_of_the_previous_starlight_smuggler() -> None:
    alone = expected_return(PREVIOUS_STARLIGHT)
    awarded = sum(p for (_, triggers), p in probabilities(PREVIOUS_STARLIGHT).items() if triggers)
    assert f"{float(alone):.1%}" == "49.6%"
    assert f"{float(alone * (1 + 5 * awarded)):.1%}" == "165.6%"
    for figure in ("49.6 %", "165.6 %", f"{100 * float(awarded):.1f} %"):
        assert figure in DOCUMENT, figure
    assert f"{100 * float(figures(STARLIGHT, DIAL_DEFAULT).line_return):.1f} %" in DOCUMENT


@pytest.mark.parametrize("game", GAMES.values(), ids=lambda game: game.name)
def test_the_document_has_the_figures_of_the_sheet(game: Game) -> None:
    assert game.sheet in DOCUMENT
    for dial in (DIAL_MINIMUM, DIAL_DEFAULT, DIAL_MAXIMUM):
        found = figures(game, dial)
        hits, deviation = 100 * float(found.hits), float(found.variance) ** 0.5
        figures_at = f"{found.returned} | {hits:.1f} % | {deviation:.2f} | {found.largest}"
        assert f"| {game.path_name} | {dial // 100} % | {figures_at} |" in DOCUMENT


@pytest.mark.parametrize("game", GAMES.values(), ids=lambda game: game.name)
def test_the_document_has_the_paytable(game: Game) -> None:
    for code, awards in game.awards.items():
        paid = " | ".join(str(award) for award in awards if award)
        assert f"| {game.symbols[code]} | {paid} |" in DOCUMENT, code


def test_the_routes_that_the_document_names_exist(app: Flask) -> None:
    adapter = app.url_map.bind("bank")
    named = re.findall(r"`(GET|POST|PUT) (/api/[^`]+)`", DOCUMENT)
    assert ("POST", f"/api/admin/users/{HOUSE_NUMBER}/adjust-balance") in named
    for method, path in named:
        assert adapter.match(path, method=method), path
