"""A spin whose connection ends at any point plays a complete round or none, and its retry returns the same outcome.

The backend of the connection is ended before each statement, after a failed attempt to settle, before COMMIT, and after
a COMMIT whose response is lost. Each point is tested with one spin, which is then sent again.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from unittest.mock import patch

import pytest
from flask import Flask
from psycopg2 import extensions
from sqlalchemy import Connection, Engine, text
from sqlalchemy.engine import ExceptionContext

from neobank.casino.engine import Outcome, play
from neobank.casino.fairness import Seeds, draw_round
from neobank.casino.games import GAMES
from neobank.ledger.models import HOUSE_ID, HOUSE_NUMBER
from tests.service.gambling import GLITCH, STARLIGHT, Answered, give, house, played, rotate, seed_that, set_seed, spin
from tests.service.statements import Statement, before_each, listening
from tests.service.support import LoggedIn, bank_of, end_process

pytestmark = pytest.mark.usefixtures("fair")

SEED_IN_USE = text(
    "SELECT seeds.server_seed, seeds.client_seed, player.nonce"
    " FROM casino_players AS player JOIN seeds ON seeds.id = player.seed_id"
)
KEPT = text(
    "SELECT (SELECT count(*) FROM rounds) AS rounds,"
    " (SELECT sum(nonce) FROM casino_players) + (SELECT coalesce(sum(rounds), 0) FROM seeds) AS nonces,"
    " (SELECT coalesce(sum(remaining), 0) FROM free_spins) AS free,"
    " (SELECT count(*) FROM transfers WHERE kind LIKE 'casino%') AS transfers,"
    " (SELECT sum(balance)::bigint FROM balances WHERE account_id < 9000000000000000001) AS held"
)
THIN = text("UPDATE balances SET balance = :each WHERE account_id = :house")
RICH = text(
    "UPDATE balances SET balance = CASE WHEN shard < :few THEN :total / :few ELSE 0 END WHERE account_id = :house"
)
LOCK = text("SELECT FROM balances WHERE account_id = :house AND balance > 0 FOR UPDATE")
HOUSE = {"house": HOUSE_ID}
ENOUGH = 32 * 90_000
"""In hundredths: more in total than the ¤990 that a spin of ¤10 requires, and less than that on each of 32 shards."""

FEW = 8
"""The number of shards that each hold enough. They are not scarce, so the spin waits for one of them."""


@dataclass
class Cut:
    """Count the points that a spin passes, and end the backend at one of them."""

    other: Engine
    at: int
    settled: Callable[[int], None]
    """Called with the number of the attempt to settle, and with 0 when the spin has ended."""
    passed: int = 0
    settlings: int = 0
    statements: list[str] = field(default_factory=list)

    def statement(self, statement: Statement) -> None:
        self.statements.append(statement.text)
        if "settle_round" in statement.text:
            self.settlings += 1
            self.settled(self.settlings)
        self.point(statement.connection)

    def failure(self, context: ExceptionContext) -> None:
        if not context.is_disconnect and context.connection is not None:
            self.point(context.connection)

    def point(self, connection: Connection) -> None:
        self.passed += 1
        if self.passed == self.at:
            self.end(connection.connection.driver_connection)

    def end(self, driver: object) -> None:
        assert isinstance(driver, extensions.connection)
        end_process(self.other, driver.info.backend_pid)


@contextmanager
def cutting(app: Flask, cut: Cut) -> Iterator[None]:
    pool = bank_of(app).engine
    with (
        before_each(pool, cut.statement),
        listening(pool, "handle_error", cut.failure),
        listening(pool, "commit", cut.point),
    ):
        yield


@contextmanager
def losing_the_answer_to_commit(app: Flask, cut: Cut) -> Iterator[None]:
    """Commit and then end the backend, so that SQLAlchemy gets an error for a successful COMMIT."""
    dialect = bank_of(app).engine.dialect

    def do_commit(dbapi_connection: extensions.connection) -> None:
        dbapi_connection.commit()
        cut.end(dbapi_connection.driver_connection)  # type: ignore[attr-defined]  # SQLAlchemy passes a proxy
        dbapi_connection.cursor().execute("SELECT 1")

    with patch.object(dialect, "do_commit", do_commit):
        yield


def do_nothing(_: int) -> None:
    """Do nothing when a spin is settled."""


def hold_the_rich_shards(holder: Connection, settling: int) -> None:
    """Lock all shards with enough money during the first attempt to settle, and release them for the second one."""
    if settling == 1:
        holder.execute(LOCK, HOUSE)
    else:
        holder.rollback()


@dataclass(frozen=True)
class Table:
    """A player's spins, and the state of the books before and after them."""

    app: Flask
    owner: Engine
    engine: Engine
    neo: LoggedIn

    def state(self) -> dict[str, int]:
        with self.owner.connect() as connection:
            return dict(connection.execute(KEPT).mappings().one())

    def coming(self, game: str) -> Outcome:
        """Compute the next outcome from the seed, which only the database owner can read."""
        with self.owner.connect() as connection:
            seed, client_seed, nonce = connection.execute(SEED_IN_USE).one()
        sheet = GAMES[game.replace("-", "_")]
        drawn = draw_round(sheet, Seeds(bytes(seed), client_seed), nonce, 10_200)
        return play(sheet, drawn.stops, loose=drawn.loose)

    def spin_through(self, game: str, cut: Cut, key: str, *, lost: bool = False) -> Answered:
        """Spin while the connection is ended, then again with the same key; return the second response."""
        line = 10 if game == GLITCH else 5
        before, outcome = self.state(), self.coming(game)
        with losing_the_answer_to_commit(self.app, cut) if lost else cutting(self.app, cut):
            status, body = spin(self.neo, game, line, key)
        cut.settled(0)
        assert status in {200, 503}, body
        between = self.state()
        moved = {name: between[name] - before[name] for name in before}
        whole = status == 200 or lost
        assert (moved["rounds"], moved["nonces"]) == (int(whole), int(whole)), (cut.passed, status, body)
        assert whole or not any(moved.values()), moved
        status, again = spin(self.neo, game, line, key)
        assert status == 200, again
        assert (again["win_amount"], again["win_multiplier"]) == (outcome.award * line, outcome.award)
        if "free_spins_remaining" in again:
            assert again["scatter_count"] == outcome.scatters
        after = self.state()
        bet = again.get("total_bet", again.get("bet"))
        assert after["rounds"] == before["rounds"] + 1
        assert after["transfers"] - before["transfers"] == bool(bet) + bool(outcome.award)
        assert after["held"] - before["held"] == (again["win_amount"] - bet) * 100  # type: ignore[operator]
        assert spin(self.neo, game, line, key) == (200, again)
        assert self.state() == after
        return again


@pytest.fixture
def table(app: Flask, owner: Engine, engine: Engine, neo: LoggedIn) -> Table:
    played(neo, GLITCH, 10)  # creates the seeds and opens the connections
    return Table(app, owner, engine, neo)


def spread(table: Table, organiser: LoggedIn, statement: object, **values: int) -> None:
    """Distribute the amount ENOUGH over the shards of the house by a statement."""
    give(organiser, HOUSE_NUMBER, (ENOUGH - house(table.owner)) / 100)
    with table.owner.begin() as connection:
        connection.execute(statement, HOUSE | values)  # type: ignore[call-overload]


@pytest.mark.parametrize(
    ("attempt", "statements", "points"),
    [(1, 5, 6), (2, 8, 10), (3, 11, 14)],
    ids=["a free shard", "a shard that is waited for", "all shards"],
)
def test_a_spin_can_be_retried_after_its_connection_ends_at_any_point(
    table: Table, organiser: LoggedIn, attempt: int, statements: int, points: int
) -> None:
    """Five statements as in test_casino.py, and three more for each failed attempt to settle."""
    cut = Cut(table.engine, 0, do_nothing)
    for at in range(1, points + 2):
        if attempt == 3:
            spread(table, organiser, THIN, each=ENOUGH // 32)
        else:
            spread(table, organiser, RICH, total=ENOUGH, few=FEW)
        with table.owner.connect() as holder:
            hold = partial(hold_the_rich_shards, holder) if attempt == 2 else do_nothing
            cut = Cut(table.engine, at, hold)
            table.spin_through(GLITCH, cut, f"attempt {attempt}, point {at}")
        # If the first statement finds its connection ended, the connection is replaced and the spin passes all points.
        assert cut.passed == (points + 1 if at == 1 else min(at, points))
    assert len(cut.statements) == statements, cut.statements


@pytest.mark.parametrize("free", [False, True], ids=["awards free spins", "uses a free spin"])
def test_a_spin_that_awards_or_uses_free_spins_can_be_retried_too(table: Table, *, free: bool) -> None:
    neo = table.neo
    seed = seed_that(neo.number, STARLIGHT, lambda _, triggers: triggers)
    left = 0
    for at in range(1, 8):
        if not left:
            rotate(neo, client_seed=neo.number)
            set_seed(table.owner, neo, seed)
            left = 5 if free and played(neo, STARLIGHT, 5) else 0
        body = table.spin_through(STARLIGHT, Cut(table.engine, at, do_nothing), f"point {at}")
        assert body["was_free_spin"] is free
        left = left - 1 if free else 5
        assert (body["free_spins_remaining"], table.state()["free"]) == (left, left)
        while left and not free:
            left = int(str(played(neo, STARLIGHT, 5)["free_spins_remaining"]))


def test_a_commit_without_a_response_is_found_by_its_key(table: Table) -> None:
    for number in range(3):
        table.spin_through(GLITCH, Cut(table.engine, 0, do_nothing), f"lost {number}", lost=True)
