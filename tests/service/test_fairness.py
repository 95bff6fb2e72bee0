"""Scheme nb1: its published examples, its distribution, and a verifier that detects every change."""

import hashlib
import hmac
import json
from collections import Counter

import pytest

from neobank.casino.commands import read_round
from neobank.casino.engine import play
from neobank.casino.exact import DIAL_DEFAULT, DIAL_MAXIMUM, DIAL_MINIMUM, chance_of_loose, distribution
from neobank.casino.fairness import Drawn, Seeds, _draw, block, commitment, draw_round
from neobank.casino.game import Game
from neobank.casino.games import GAMES
from neobank.casino.rounds import problems
from tests.service.support import neobank

GLITCH, STARLIGHT = GAMES["glitch_grid"], GAMES["starlight_smuggler"]
SEEDS = Seeds(bytes(range(32)), "neo")

EXAMPLES = [
    (STARLIGHT, 0, "a402a23523e684148c4b70c009965e59f32d76f4dc8bd73791604c30184313f2", False, (12, 24, 27, 32, 11), 20),
    (STARLIGHT, 1, "50be2cfe7de09e5e1c527fcc238ed95fd0cc9f49837be9747acf1024e9e7c0b9", True, (16, 6, 9, 5, 24), 0),
    (GLITCH, 0, "4d1824ca13c4ea0c115bcc3120486692b338ab8ac14cde2ae65e040a9070f1c0", False, (36, 1, 2), 0),
    (GLITCH, 1, "483eda9f9ddc58cc9e6de7add90f41680e97f7af70bf4dc3de2d19a837fb8e51", False, (4, 21, 16), 0),
]


@pytest.mark.parametrize(("game", "nonce", "first", "loose", "stops", "award"), EXAMPLES)
def test_the_published_examples_are_correct(
    game: Game, nonce: int, first: str, *, loose: bool, stops: tuple[int, ...], award: int
) -> None:
    assert commitment(SEEDS.server_seed) == "630dcd2966c4336691125448bbb25b4ff412a49c732db2c8abc1b8581bd710dd"
    assert block(game, SEEDS, nonce, 0).hex() == first
    assert draw_round(game, SEEDS, nonce, DIAL_DEFAULT) == Drawn(loose, stops)
    assert play(game, stops, loose=loose).award == award


def test_a_draw_skips_words_above_the_last_multiple_of_its_range() -> None:
    """2**32 is 429 496 times 10 000 plus 7 296: the last 7 296 words would favour small numbers."""
    whole = 2**32 - 2**32 % 10_000
    assert _draw(iter([2**32 - 1, whole, whole - 1]), 10_000) == 9_999
    assert _draw(iter([whole, 3]), 10_000) == 3
    assert _draw(iter([2**32 - 1]), 2) == 1


def test_a_ninth_word_comes_from_the_next_block() -> None:
    """The expected values follow docs/fairness.md, for a game with more reels than a block has words."""
    strips = tuple("ab" * (reel + 3) for reel in range(20))
    wide = Game(
        name="wide_game",
        rows=1,
        symbols={"a": "a", "b": "b"},
        awards={"a": (0,) * 20},
        lines=("0" * 20,),
        bets=GLITCH.bets,
        tight=strips,
        loose=strips,
    )
    stream = b"".join(
        hmac.new(SEEDS.server_seed, f"nb1:wide-game:7:{number}:neo".encode(), hashlib.sha256).digest()
        for number in range(4)
    )
    words = [int.from_bytes(stream[at : at + 4], "big") for at in range(0, len(stream), 4)]
    expected = [word % len(strip) for word, strip in zip(words[1:], strips, strict=False)]
    assert draw_round(wide, SEEDS, 7, DIAL_DEFAULT) == Drawn(words[0] % 10_000 < 5_200, tuple(expected))


@pytest.mark.parametrize(("dial", "loose"), [(DIAL_MINIMUM, False), (DIAL_MAXIMUM, True)])
def test_the_lowest_and_the_highest_dial_use_one_set_only(dial: int, *, loose: bool) -> None:
    assert {draw_round(GLITCH, SEEDS, nonce, dial).loose for nonce in range(500)} == {loose}


def test_the_dial_changes_the_set_and_not_the_stops() -> None:
    """The set is drawn at every dial, so the reels use the same words."""
    for nonce in range(200):
        tight, loose = (draw_round(GLITCH, SEEDS, nonce, dial) for dial in (DIAL_MINIMUM, DIAL_MAXIMUM))
        assert tight.stops == loose.stops  # the strips of this game have the same length in both sets


def sampled(game: Game, rounds: int) -> Counter[tuple[bool, int, bool]]:
    """Play rounds with the real generator; count them by set, award and whether they award free spins."""
    counted: Counter[tuple[bool, int, bool]] = Counter()
    for nonce in range(rounds):
        drawn = draw_round(game, SEEDS, nonce, DIAL_DEFAULT)
        outcome = play(game, drawn.stops, loose=drawn.loose)
        counted[drawn.loose, outcome.award, outcome.triggers] += 1
    return counted


def assert_distributed(game: Game, rounds: int) -> None:
    """Assert by a chi-square test that rounds follow the exact distribution; the seed is fixed."""
    counted = sampled(game, rounds)
    cells: list[tuple[float, int]] = []
    rare_expected, rare_seen = 0.0, 0
    for loose in (False, True):
        weight = chance_of_loose(DIAL_DEFAULT) if loose else 1 - chance_of_loose(DIAL_DEFAULT)
        exact = distribution(game, loose=loose)
        grids = sum(exact.values())
        for (award, triggers), count in exact.items():
            expected, seen = float(weight * rounds * count / grids), counted.pop((loose, award, triggers), 0)
            if expected < 10:
                rare_expected, rare_seen = rare_expected + expected, rare_seen + seen
            else:
                cells.append((expected, seen))
    assert not counted, f"outcomes outside the exact distribution: {counted}"
    cells.append((rare_expected, rare_seen))
    cells = [cell for cell in cells if cell[0] >= 5]
    statistic = sum((seen - expected) ** 2 / expected for expected, seen in cells)
    freedom = len(cells) - 1
    # Normal approximation of Wilson and Hilferty; 4.75 is a probability of one in a million on either side.
    deviate = ((statistic / freedom) ** (1 / 3) - (1 - 2 / (9 * freedom))) / (2 / (9 * freedom)) ** 0.5
    assert abs(deviate) < 4.75, (statistic, freedom)


@pytest.mark.parametrize("game", GAMES.values(), ids=lambda game: game.name)
def test_sampled_rounds_agree_with_the_exact_distribution(game: Game) -> None:
    assert_distributed(game, 20_000)


@pytest.mark.soak
@pytest.mark.timeout(3 * 3600)
@pytest.mark.parametrize("game", GAMES.values(), ids=lambda game: game.name)
def test_ten_million_rounds_agree_with_the_exact_distribution(game: Game) -> None:
    assert_distributed(game, 10_000_000)


SHOWN: dict[str, object] = {
    "id": 5,
    "timestamp": "2026-11-21T20:00:00Z",
    "game": "starlight_smuggler",
    "set": "tight",
    "stops": [12, 24, 27, 32, 11],
    "dial": 102.0,
    "config_version": 2,
    "sheet": STARLIGHT.sheet,
    "nonce": 0,
    "was_free_spin": False,
    "bet_per_line": 5.0,
    "bet": 45.0,
    "win": 100.0,
    "bonus_spins_awarded": 0,
    "server_seed_hash": commitment(SEEDS.server_seed),
    "client_seed": SEEDS.client_seed,
    "server_seed": SEEDS.server_seed.hex(),
}


def read(**change: object) -> list[str]:
    return problems(read_round(json.dumps(SHOWN | change).encode()))


def test_a_correct_round_has_no_problem() -> None:
    assert read() == []


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"stops": [12, 24, 27, 32, 12]}, "stops"),
        ({"set": "loose"}, "set is loose"),
        ({"win": 100.01}, "win is ¤100.01"),
        ({"bet": 40}, "bet is"),
        ({"bet_per_line": 10}, "win"),
        ({"nonce": 1}, "stops"),
        ({"client_seed": "Neo"}, "stops"),
        ({"server_seed": bytes(32).hex()}, "server_seed_hash"),
        ({"server_seed_hash": "00"}, "server_seed_hash"),
        ({"bonus_spins_awarded": 5}, "bonus_spins_awarded"),
        ({"was_free_spin": True}, "bet"),
        ({"game": "glitch_grid", "sheet": GLITCH.sheet}, "stops"),
    ],
)
def test_a_changed_round_is_reported(change: dict[str, object], named: str) -> None:
    assert named in "; ".join(read(**change))


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"server_seed": None}, "still in use"),
        ({"sheet": "00"}, "newer version"),
        ({"sheet": GLITCH.sheet}, "newer version"),
        ({"stops": None}, "not a round"),
        ({"dial": 49}, "not a round"),
        ({"server_seed": "xyz"}, "not a round"),
    ],
)
def test_an_unverifiable_round_is_rejected_with_the_reason(change: dict[str, object], named: str) -> None:
    with pytest.raises(ValueError, match=named):
        read(**change)


def test_the_command_needs_no_server_and_no_settings() -> None:
    right = neobank("verify-round", stdin=json.dumps(SHOWN))
    assert right.returncode == 0, right.stderr
    for part in ("round 5 ", "tight", "stops 12, 24, 27, 32, 11", "win ¤100.00"):
        assert part in right.stdout.lower()
    wrong = neobank("verify-round", stdin=json.dumps(SHOWN | {"win": 5}))
    assert wrong.returncode == 1
    assert wrong.stderr.startswith("neobank: ")
    for part in ("round 5 ", "win is ¤5.00"):
        assert part in wrong.stderr


@pytest.mark.parametrize("malformed", [b"", b"[]", b"{", b"\xff", b'{"id": NaN}', b"5", b"null"])
def test_malformed_input_is_rejected(malformed: bytes) -> None:
    with pytest.raises(ValueError, match="the input is not a round"):
        read_round(malformed)
