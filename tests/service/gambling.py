"""Casino requests over HTTP, and changes that only the database owner can make."""

from collections.abc import Callable

from sqlalchemy import Engine, text

from neobank.casino.engine import play
from neobank.casino.fairness import Seeds, draw_round
from neobank.casino.games import GAMES
from neobank.ledger.models import HOUSE_ID
from tests.service.support import LoggedIn

Answered = dict[str, object]

GLITCH, STARLIGHT = "glitch-grid", "starlight-smuggler"


def spin(who: LoggedIn, game: str, bet: object, key: str | None = None) -> tuple[int, Answered]:
    answer = who.send("POST", f"/casino/{game}/spin", once=key or None, bet_amount=bet)
    return answer.status_code, answer.get_json()


def played(who: LoggedIn, game: str, bet: object) -> Answered:
    status, body = spin(who, game, bet)
    assert status == 200, body
    return body


def rotate(who: LoggedIn, **body: object) -> Answered:
    answer = who.send("POST", "/casino/seed", **body)
    assert answer.status_code == 200, answer.text
    found: Answered = answer.get_json()
    return found


def set_seed(owner: Engine, who: LoggedIn, server_seed: bytes) -> None:
    """Set the player's server seed, so that the next rounds are known. Only the database owner can do this."""
    who.send("GET", "/casino/seed")
    rig(owner, who.number, server_seed)


def rig(owner: Engine, number: str, server_seed: bytes) -> None:
    """Replace the server seed in use."""
    with owner.begin() as connection:
        connection.execute(
            text(
                "UPDATE seeds SET server_seed = :seed FROM casino_players AS player JOIN accounts ON id = account_id"
                " WHERE seeds.id = player.seed_id AND accounts.number = :number"
            ),
            {"seed": server_seed, "number": number},
        )


def seed_that(number: str, game: str, wanted: Callable[[int, bool], bool]) -> bytes:
    """Return a server seed whose first round meets a condition on its award and on whether it awards free spins.

    The client seed has to be the initial one, which is the account number.
    """
    for candidate in range(100_000):
        seed = candidate.to_bytes(32)
        sheet = GAMES[game.replace("-", "_")]
        drawn = draw_round(sheet, Seeds(seed, number), 0, 10_200)
        outcome = play(sheet, drawn.stops, loose=drawn.loose)
        if wanted(outcome.award, outcome.triggers):
            return seed
    raise AssertionError("no such round")


def give(organiser: LoggedIn, number: str, amount: float) -> tuple[int, Answered]:
    answer = organiser.administer("POST", f"/users/{number}/adjust-balance", amount=amount, reason="test")
    return answer.status_code, answer.get_json()


def configure(organiser: LoggedIn, game: str, **change: object) -> tuple[int, Answered]:
    answer = organiser.administer("PUT", f"/casino/config/{game}", **change)
    return answer.status_code, answer.get_json()


def house(owner: Engine) -> int:
    with owner.connect() as connection:
        held = connection.execute(
            text("SELECT sum(balance)::bigint FROM balances WHERE account_id = :house"), {"house": HOUSE_ID}
        )
        return int(held.scalar_one())
