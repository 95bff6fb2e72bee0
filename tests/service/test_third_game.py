"""A further game needs only data: this one is played, paid and verified by the existing code."""

import json
from dataclasses import replace
from fractions import Fraction
from zoneinfo import ZoneInfo

import pytest
from sqlalchemy import Engine, text

from neobank.casino.engine import play
from neobank.casino.exact import DIAL_DEFAULT, DIAL_MAXIMUM, DIAL_MINIMUM, figures
from neobank.casino.fairness import Seeds, draw_round
from neobank.casino.game import Bets, Game, Scatter
from neobank.casino.games import GAMES, SHEETS
from neobank.casino.seeds import rotate
from neobank.casino.spins import retry_spin, spin
from neobank.casino.verification import verify_rounds
from neobank.players.operations import register
from neobank.provisioning import provision_games
from neobank.settings import UpgradeSettings
from tests.service import nb1

GAME = Game(
    name="data_heist",
    rows=2,
    symbols={"D": "💾", "L": "🔒", ".": "▒", "@": "🌀"},
    awards={"D": (0, 0, 50), "L": (0, 0, 1)},
    scatter=Scatter(symbol="@", needed=1, spins=5),
    lines=("000", "111", "010"),
    bets=Bets(minimum=1, maximum=100, step=1),
    tight=("D.D.D.D.D.", "D.........", "D...@....."),
    loose=("D.D.D.D.D.", "D..D..D...", "D...@....."),
)
"""Its lines return 1/4 and 3/4. One spin in five awards five free spins, which doubles the return."""


def test_its_return_equals_the_dial() -> None:
    for dial in (DIAL_MINIMUM, 7_777, DIAL_DEFAULT, DIAL_MAXIMUM):
        found = figures(GAME, dial)
        assert (found.returned, found.free_spins, found.largest) == (Fraction(dial, 10_000), Fraction(1, 5), 50)
    assert figures(replace(GAME, tight=GAME.loose), DIAL_MINIMUM).returned == Fraction(3, 2)


def test_the_independent_verifier_computes_its_rounds_from_the_sheet() -> None:
    sheet = json.loads(GAME.canonical)
    for nonce in range(300):
        drawn = draw_round(GAME, Seeds(bytes(32), "neo"), nonce, DIAL_DEFAULT)
        outcome = play(GAME, drawn.stops, loose=drawn.loose)
        found = nb1.play(sheet, bytes(32), "neo", nonce, DIAL_DEFAULT)
        assert (found.set == "loose", tuple(found.stops), tuple(found.grid)) == (drawn.loose, drawn.stops, outcome.grid)
        assert (found.award, found.triggers) == (outcome.award, outcome.triggers)


def test_its_rounds_are_played_paid_and_verified(
    owner: Engine, fresh: UpgradeSettings, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    del fresh
    monkeypatch.setitem(GAMES, GAME.name, GAME)
    monkeypatch.setitem(SHEETS, GAME.sheet, GAME)
    with owner.begin() as connection:
        provision_games(connection)
        neo = register(connection, name="Neo", password_hash="none", faction=None)

    def play_once(attempt: int) -> bool:
        with engine.begin() as connection:
            return spin(
                connection,
                account_id=neo.account_id,
                account_number=neo.account_number,
                game=GAME,
                line_bet=100,
                zone=ZoneInfo("UTC"),
                attempt=attempt,
            ).terms.free

    free = [retry_spin(play_once) for _ in range(60)]
    with engine.begin() as connection:
        rotate(connection, neo.account_id, neo.account_number, None)
    with owner.connect() as connection:
        verdict = verify_rounds(connection)
        awarded = connection.execute(text("SELECT sum(awarded) FROM rounds")).scalar_one()
        waiting = connection.execute(text("SELECT coalesce(sum(remaining), 0) FROM free_spins")).scalar_one()
    assert (verdict.rounds, verdict.problems) == (60, [])
    assert awarded == sum(free) + waiting
