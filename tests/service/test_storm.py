"""Concurrent processes pay, spin, sell, credit, reverse and freeze on a few accounts, and the books remain sound.

A process fails on any error other than a BankError, and so on a deadlock. After each wave the books are verified.
"""

import multiprocessing
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from functools import partial

import pytest
from sqlalchemy import Engine, select, text

from neobank.audit.verification import verify_chain
from neobank.ledger.models import Account
from neobank.players.operations import register
from tests.service.storm import Scene, rage
from tests.service.support import ADMINISTRATOR, Books, Database, below_floor, neobank

PROCESSES = 8
PLAYERS = 6
SHARDS = 8

COUNT = text("SELECT count(*) FROM transfers")
SPLIT = text("UPDATE accounts SET shards = :shards WHERE id = :account")
SHARD = text("INSERT INTO balances (account_id, shard, floor) VALUES (:account, :shard, 0)")


@pytest.fixture
def scene(database: Database, engine: Engine, owner: Engine, fresh: object) -> Scene:
    """Create a few players, half of them in a faction, and one of them a vendor whose account has shards."""
    del fresh
    with engine.begin() as connection:
        opened = [
            register(connection, name=f"Player {index}", password_hash="none", faction="Runners" if index % 2 else None)
            for index in range(PLAYERS)
        ]
        organiser = connection.execute(select(Account.id).where(Account.name == ADMINISTRATOR.name)).scalar_one()
    vendor = opened[-1].account_id
    with owner.begin() as connection:
        connection.execute(SPLIT, {"shards": SHARDS, "account": vendor})
        connection.execute(SHARD, [{"account": vendor, "shard": shard} for shard in range(1, SHARDS)])
    accounts = tuple((one.account_id, one.account_number) for one in opened)
    return Scene(database.url("application"), accounts, vendor, organiser, "Runners")


@pytest.mark.parametrize(
    ("waves", "operations"),
    [(3, 80), pytest.param(60, 1000, marks=[pytest.mark.soak, pytest.mark.timeout(7200)])],
)
def test_concurrent_operations_keep_every_invariant(
    scene: Scene, database: Database, engine: Engine, books: Books, waves: int, operations: int
) -> None:
    with engine.connect() as connection:
        expected: int = connection.execute(COUNT).scalar_one()
    seen: Counter[str] = Counter()
    with ProcessPoolExecutor(PROCESSES, multiprocessing.get_context("spawn")) as pool:
        for wave in range(waves):
            seeds = range(wave * PROCESSES, (wave + 1) * PROCESSES)
            for transfers, outcomes in pool.map(partial(rage, scene, operations=operations), seeds):
                expected += transfers
                seen += outcomes
            books()
            with engine.connect() as connection:
                assert connection.execute(COUNT).scalar_one() == expected, seen
                assert below_floor(connection) == []
                assert verify_chain(connection).broken_at is None
    assert {"transfer", "spin", "credit", "reverse", "freeze", "sell"} <= set(seen), seen
    assert {"transfer: AccountFrozen", "spin: InsufficientFunds", "reverse: AlreadyUndone"} <= set(seen), seen
    verified = neobank("verify", DATABASE_URL=database.setting("application"))
    assert verified.returncode == 0, verified.stderr
    assert "All balances agree" in verified.stdout
