"""`neobank verify` detects and names a forged round, a missing round and a replaced seed."""

import re

import pytest
from sqlalchemy import Engine, text

from neobank.casino.verification import verify_rounds
from tests.service.gambling import GLITCH, STARLIGHT, played, rotate, seed_that, set_seed
from tests.service.support import Database, LoggedIn, neobank

SEEDS = {"old": "(SELECT min(id) FROM seeds)", "used": "(SELECT seed_id FROM casino_players)"}


@pytest.fixture
def gambled(owner: Engine, neo: LoggedIn) -> LoggedIn:
    """Play six rounds on each of two seeds. The first seed is retired, and its first round awards the free spins."""
    set_seed(owner, neo, seed_that(neo.number, STARLIGHT, lambda _, triggers: triggers))
    for game, bet in [(STARLIGHT, 10), (GLITCH, 10)] * 3:
        played(neo, game, bet)
    rotate(neo, client_seed="another")
    for game, bet in [(STARLIGHT, 5), (GLITCH, 10)] * 3:
        played(neo, game, bet)
    return neo


def verify(database: Database) -> tuple[int, str]:
    done = neobank("verify", DATABASE_URL=database.setting("application"))
    return done.returncode, done.stdout + done.stderr


def test_played_rounds_verify(database: Database, gambled: LoggedIn) -> None:
    del gambled
    code, output = verify(database)
    assert (code, "6 rounds of 1 retired seed" in output) == (0, True), output


def test_the_command_fails_if_rounds_are_forged(database: Database, owner: Engine, gambled: LoggedIn) -> None:
    del gambled
    with owner.begin() as connection:
        connection.execute(text("UPDATE rounds SET loose = NOT loose"))
    code, output = verify(database)
    assert code == 1
    assert re.search(r"^neobank: .*\b6\b.*rounds", output, re.MULTILINE), output


@pytest.mark.parametrize(
    ("forgery", "named"),
    [
        ("UPDATE rounds SET stops[1] = (stops[1] + 1) % 30 WHERE seed_id = {old} AND nonce = 1", "stops is ["),
        ("UPDATE rounds SET win = win + 1 WHERE seed_id = {old} AND nonce = 2", "win is ¤"),
        ("UPDATE rounds SET win = win + 1 WHERE seed_id = {used} AND nonce = 2", "differ from its casino transfers"),
        ("UPDATE rounds SET loose = NOT loose WHERE seed_id = {old}", "set is "),
        ("UPDATE rounds SET awarded = awarded + 5 WHERE seed_id = {old}", "bonus_spins_awarded is "),
        (
            "UPDATE rounds SET free = true, bet = 0 WHERE seed_id = {used} AND NOT free",
            "differ from its casino transfers",
        ),
        ("UPDATE rounds SET free = true, bet = 0 WHERE NOT free AND game LIKE 'g%'", "is wrongly free or paid"),
        ("UPDATE rounds SET free = false, bet = 9 * line_bet WHERE free", "is wrongly free or paid"),
        ("UPDATE rounds SET line_bet = line_bet / 2 WHERE free", "is wrongly free or paid"),
        ("UPDATE rounds SET awarded = 0 WHERE awarded > 0", "is wrongly free or paid"),
        ("UPDATE rounds SET sheet = '00' WHERE seed_id = {old}", "has no sheet 00"),
        ("UPDATE rounds SET dial = 10201 WHERE seed_id = {used} AND nonce = 0", "is at dial 102.01, which version"),
        ("UPDATE dial_versions SET created_at = clock_timestamp()", "did not have at that time"),
        ("DELETE FROM rounds WHERE seed_id = {old} AND nonce = 3", "must have 6 rounds, but has 5"),
        ("DELETE FROM rounds WHERE seed_id = {used} AND nonce = 5", "must have 6 rounds, but has 5"),
        ("UPDATE rounds SET nonce = 7 WHERE seed_id = {used} AND nonce = 5", "with nonces below 8"),
        ("UPDATE casino_players SET nonce = nonce + 1", "must have 7 rounds, but has 6"),
        ("UPDATE seeds SET rounds = 5 WHERE id = {old}", "must have 5 rounds, but has 6"),
        ("UPDATE seeds SET client_seed = 'chosen later' WHERE id = {old}", "stops is ["),
        ("UPDATE seeds SET server_seed = sha256(server_seed) WHERE id = {old}", "stops is ["),
        (
            "UPDATE rounds SET seed_id = (SELECT next_seed_id FROM casino_players) WHERE seed_id = {old}",
            "must have 0 rounds, but has",
        ),
    ],
)
def test_verification_names_a_forgery(
    owner: Engine, engine: Engine, gambled: LoggedIn, forgery: str, named: str
) -> None:
    del gambled
    with owner.begin() as connection:
        assert connection.execute(text(forgery.format(**SEEDS))).rowcount > 0
    with engine.connect() as connection:
        assert named in "; ".join(verify_rounds(connection).problems)
