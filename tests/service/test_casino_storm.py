"""Concurrent processes spin and rotate seeds on a few accounts, with a house that is rich, short, and nearly broke.

A process fails on any error other than a BankError, and so on a deadlock. After each wave every round is recomputed,
and every reported win is in the books.
"""

import multiprocessing
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from functools import partial

import pytest
from sqlalchemy import Engine, text

from neobank.casino.games import GAMES
from neobank.casino.seeds import ensure_seeds, rotate
from neobank.casino.spins import spin
from neobank.casino.verification import verify_rounds
from neobank.ledger.models import HOUSE_ID, HOUSE_NUMBER, SYSTEM_ID, SYSTEM_NUMBER
from neobank.ledger.operations import Kind
from neobank.players.operations import register
from tests.service.casino_storm import ZONE, Table, play
from tests.service.gambling import STARLIGHT, house, rig, seed_that
from tests.service.support import Books, Database, below_floor, transfer

PROCESSES = 8
PLAYERS = 3
ROUNDS = text("SELECT id, account_id, bet, win FROM rounds WHERE id > :after ORDER BY id")
NEWEST = text("SELECT coalesce(max(id), 0) FROM rounds")
FREE_SPINS = text("""
    SELECT sum(round.awarded) - count(*) FILTER (WHERE round.free),
        (SELECT coalesce(sum(remaining), 0) FROM free_spins WHERE free_spins.account_id = round.account_id)
    FROM rounds AS round GROUP BY round.account_id
""")
SPREAD = text("UPDATE balances SET balance = :each WHERE account_id = :house")
HOUSES = {"rich": 1_000_000_000, "short": 20_000_000, "nearly broke": 160_000}
"""The house's balance at the start of a wave, in hundredths, equally distributed over its shards."""


@pytest.fixture
def table(database: Database, owner: Engine, fresh: object) -> Table:
    """Create a few players with a high balance and free spins."""
    del fresh
    with owner.begin() as connection:
        opened = [register(connection, name=f"P{it}", password_hash="none", faction=None) for it in range(PLAYERS)]
    accounts = tuple((one.account_id, one.account_number) for one in opened)
    for account, number in accounts:
        move(owner, SYSTEM_ID, number, 1_000_000_000)
        with owner.begin() as connection:
            ensure_seeds(connection, account, number)
        rig(owner, number, seed_that(number, STARLIGHT, lambda _, triggers: triggers))
        with owner.begin() as connection:
            spin(
                connection,
                account_id=account,
                account_number=number,
                game=GAMES["starlight_smuggler"],
                line_bet=500,
                zone=ZONE,
                attempt=1,
            )
    return Table(database.url("application"), accounts)


def move(owner: Engine, debit: int, credit: str, amount: int) -> None:
    with owner.begin() as connection:
        transfer(connection, debit, credit, amount, Kind.ADMIN_ADJUSTMENT)


def set_house(owner: Engine, wanted: int) -> None:
    missing = wanted - house(owner)
    if missing > 0:
        move(owner, SYSTEM_ID, HOUSE_NUMBER, missing)
    elif missing < 0:
        move(owner, HOUSE_ID, SYSTEM_NUMBER, -missing)
    with owner.begin() as connection:
        connection.execute(SPREAD, {"each": wanted // 32, "house": HOUSE_ID})


@pytest.mark.parametrize(
    ("waves", "operations"),
    [(1, 60), pytest.param(10, 1500, marks=[pytest.mark.soak, pytest.mark.timeout(7200)])],
)
def test_concurrent_spins_keep_every_invariant(
    table: Table, owner: Engine, engine: Engine, books: Books, waves: int, operations: int
) -> None:
    seen: Counter[str] = Counter()
    with ProcessPoolExecutor(PROCESSES, multiprocessing.get_context("spawn")) as pool:
        for wave, (name, held) in enumerate([*HOUSES.items()] * waves):
            set_house(owner, held)
            with engine.connect() as connection:
                before = connection.execute(NEWEST).scalar_one()
            reported: dict[int, tuple[int, int, int]] = {}
            seeds = range(wave * PROCESSES, (wave + 1) * PROCESSES)
            for played in pool.map(partial(play, table, operations=operations), seeds):
                reported |= played.rounds
                seen += Counter({f"{name}: {what}": times for what, times in played.outcomes.items()})
            with engine.connect() as connection:
                kept = {
                    id_: (account, bet, win) for id_, account, bet, win in connection.execute(ROUNDS, {"after": before})
                }
                assert kept == reported, seen
                assert all(waiting == left for waiting, left in connection.execute(FREE_SPINS))
                assert below_floor(connection) == []
            check_every_round(table, engine)
            books()
    assert {f"{name}: {what}" for name in HOUSES for what in ("paid", "rotated")} <= set(seen), seen
    assert {"short: attempt 2", "short: attempt 3", "nearly broke: attempt 3"} <= set(seen), seen
    assert "nearly broke: HouseCannotPay" in seen, seen
    assert seen["rich: free"] >= 5 * PLAYERS, seen
    assert "rich: HouseCannotPay" not in seen, seen


def check_every_round(table: Table, engine: Engine) -> None:
    """Retire all seeds, so that they are revealed, and recompute their rounds."""
    with engine.begin() as connection:
        for account, number in table.accounts:
            rotate(connection, account, number, None)
    with engine.connect() as connection:
        assert verify_rounds(connection).problems == []
