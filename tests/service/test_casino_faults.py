"""A spin whose connection dies at any point is no round or a whole one, and its retry gives the outcome it had.

The server ends the connection's backend before each statement, where a try of the house has failed, before COMMIT, and
after a COMMIT whose answer is lost. Each point is met by a spin of its own, and each spin is then sent again.
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
from tests.service.support import LoggedIn, bank_of

pytestmark = pytest.mark.usefixtures("fair")

END = text("SELECT pg_terminate_backend(:process, 10000)")
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
"""Hundredths: more than the ¤990 that a spin of ¤10 asks for, and less than that on each of 32 shards."""

FEW = 8
"""So many rich shards are not scarce: it is worth waiting for one of them."""


@dataclass
class Cut:
    """Counts the points that a spin goes through, and ends the backend at one of them."""

    other: Engine
    at: int
    settled: Callable[[int], None]
    """Told how many times the spin has come to its settling, and 0 when it has ended."""
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
        with self.other.connect() as killer:
            assert killer.execute(END, {"process": driver.info.backend_pid}).scalar_one()


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
    """COMMIT is done, and then the connection is found dead: what SQLAlchemy is told is that it failed."""
    dialect = bank_of(app).engine.dialect

    def do_commit(dbapi_connection: extensions.connection) -> None:
        dbapi_connection.commit()
        cut.end(dbapi_connection.driver_connection)  # type: ignore[attr-defined]  # SQLAlchemy's proxy of it
        dbapi_connection.cursor().execute("SELECT 1")

    with patch.object(dialect, "do_commit", do_commit):
        yield


def no_more(_: int) -> None:
    """Nothing happens when a spin is settled."""


def hold_the_rich_shards(holder: Connection, settling: int) -> None:
    """While the spin tries for a free shard there is none; the second time there is."""
    if settling == 1:
        holder.execute(LOCK, HOUSE)
    else:
        holder.rollback()


@dataclass(frozen=True)
class Table:
    """What all of these tests look at: one player's spins, and the books before and after."""

    app: Flask
    owner: Engine
    engine: Engine
    neo: LoggedIn

    def look(self) -> dict[str, int]:
        with self.owner.connect() as connection:
            return dict(connection.execute(KEPT).mappings().one())

    def coming(self, game: str) -> Outcome:
        """Compute the next outcome, as nobody but the owner can."""
        with self.owner.connect() as connection:
            seed, client_seed, nonce = connection.execute(SEED_IN_USE).one()
        sheet = GAMES[game.replace("-", "_")]
        drawn = draw_round(sheet, Seeds(bytes(seed), client_seed), nonce, 10_200)
        return play(sheet, drawn.stops, loose=drawn.loose)

    def spin_through(self, game: str, cut: Cut, key: str, *, lost: bool = False) -> Answered:
        """Spin while the connection is ended, then again with the key; gives the answer of the second."""
        line = 10 if game == GLITCH else 5
        before, outcome = self.look(), self.coming(game)
        with losing_the_answer_to_commit(self.app, cut) if lost else cutting(self.app, cut):
            status, body = spin(self.neo, game, line, key)
        cut.settled(0)
        assert status in {200, 503}, body
        between = self.look()
        moved = {name: between[name] - before[name] for name in before}
        whole = status == 200 or lost
        assert (moved["rounds"], moved["nonces"]) == (int(whole), int(whole)), (cut.passed, status, body)
        assert whole or not any(moved.values()), moved
        status, again = spin(self.neo, game, line, key)
        assert status == 200, again
        assert (again["win_amount"], again["win_multiplier"]) == (outcome.award * line, outcome.award)
        if "free_spins_remaining" in again:
            assert again["scatter_count"] == outcome.scatters
        after = self.look()
        bet = again.get("total_bet", again.get("bet"))
        assert after["rounds"] == before["rounds"] + 1
        assert after["transfers"] - before["transfers"] == bool(bet) + bool(outcome.award)
        assert after["held"] - before["held"] == (again["win_amount"] - bet) * 100  # type: ignore[operator]
        assert spin(self.neo, game, line, key) == (200, again)
        assert self.look() == after
        return again


@pytest.fixture
def table(app: Flask, owner: Engine, engine: Engine, neo: LoggedIn) -> Table:
    played(neo, GLITCH, 10)  # with seeds and connections from here on
    return Table(app, owner, engine, neo)


def spread(table: Table, organiser: LoggedIn, statement: object, **values: int) -> None:
    """Give the house ENOUGH, in the way the statement says."""
    give(organiser, HOUSE_NUMBER, (ENOUGH - house(table.owner)) / 100)
    with table.owner.begin() as connection:
        connection.execute(statement, HOUSE | values)  # type: ignore[call-overload]


@pytest.mark.parametrize(
    ("way", "statements", "points"),
    [(1, 5, 6), (2, 8, 10), (3, 11, 14)],
    ids=["a free shard", "a shard that is waited for", "all shards"],
)
def test_a_spin_survives_the_end_of_its_connection_at_any_point(
    table: Table, organiser: LoggedIn, way: int, statements: int, points: int
) -> None:
    """The statements of `test_a_spin_is_so_many_statements`, and three more for each try of the house that fails."""
    cut = Cut(table.engine, 0, no_more)
    for at in range(1, points + 2):
        if way == 3:
            spread(table, organiser, THIN, each=ENOUGH // 32)
        else:
            spread(table, organiser, RICH, total=ENOUGH, few=FEW)
        with table.owner.connect() as holder:
            hold = partial(hold_the_rich_shards, holder) if way == 2 else no_more
            cut = Cut(table.engine, at, hold)
            table.spin_through(GLITCH, cut, f"way {way}, point {at}")
        # A connection that is found dead before anything is asked of the books is replaced, and all points are passed.
        assert cut.passed == (points + 1 if at == 1 else min(at, points))
    assert len(cut.statements) == statements, cut.statements


@pytest.mark.parametrize("free", [False, True], ids=["awards free spins", "is one of them"])
def test_a_spin_that_awards_or_takes_free_spins_survives_it_too(table: Table, *, free: bool) -> None:
    neo = table.neo
    seed = seed_that(neo.number, STARLIGHT, lambda _, triggers: triggers)
    left = 0
    for at in range(1, 8):
        if not left:
            rotate(neo, client_seed=neo.number)
            set_seed(table.owner, neo, seed)
            left = 5 if free and played(neo, STARLIGHT, 5) else 0
        body = table.spin_through(STARLIGHT, Cut(table.engine, at, no_more), f"point {at}")
        assert body["was_free_spin"] is free
        left = left - 1 if free else 5
        assert (body["free_spins_remaining"], table.look()["free"]) == (left, left)
        while left and not free:
            left = int(str(played(neo, STARLIGHT, 5)["free_spins_remaining"]))


def test_an_unknown_commit_is_found_by_its_key(table: Table) -> None:
    for number in range(3):
        table.spin_through(GLITCH, Cut(table.engine, 0, no_more), f"lost {number}", lost=True)
