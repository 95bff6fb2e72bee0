"""The service behind gunicorn: several workers, many concurrent clients, a database that stops and starts."""

import random
from concurrent.futures import ThreadPoolExecutor

import pytest
from sqlalchemy import Engine

from tests.bank import Player
from tests.service.serving import Served
from tests.service.support import Books, Database


def test_sixteen_concurrent_clients_neither_lose_nor_create_money(served: Served, books: Books) -> None:
    server = served.bank
    players = [server.join(f"Player {index}") for index in range(6)]

    def wander(seed: int) -> dict[Player, float]:
        chance = random.Random(seed)  # noqa: S311
        moved = dict.fromkeys(players, 0.0)
        for _ in range(40):
            payer, receiver = chance.sample(players, 2)
            amount = chance.randint(1, 40_000) / 100
            status, body = server.pay(payer, receiver, amount)
            if status == 201:
                moved[payer] -= amount
                moved[receiver] += amount
            else:
                assert (status, f"¤{amount:.2f}" in body["error"]) == (400, True), body
        return moved

    with ThreadPoolExecutor(16) as pool:
        moves = list(pool.map(wander, range(16)))
    for player in players:
        assert server.balance(player) == pytest.approx(1000 + sum(moved[player] for moved in moves), abs=0.001)
    books()


def test_many_registrations_do_not_reject_payments(served: Served, books: Books) -> None:
    """A registration or login with a 503 is repeated; no payment gets a 503."""
    server = served.bank
    payer, receiver = server.join("Neo"), server.join("Trinity")
    with ThreadPoolExecutor(24) as pool:
        joining = [pool.submit(server.join, f"Player {index}") for index in range(40)]
        paid = []
        while not all(player.done() for player in joining):
            paid.append(server.pay(payer, receiver, 0.01)[0])
        numbers = {player.result().number for player in joining}
    assert set(paid) == {201}
    assert len(numbers) == 40
    assert server.balance(payer) == pytest.approx(1000 - len(paid) / 100, abs=0.001)
    books()


def test_a_stopped_database_gets_a_503_until_it_runs_again(
    served: Served, database: Database, engine: Engine, owner: Engine
) -> None:
    server = served.bank
    if database.embedded is None:
        pytest.skip("NEOBANK_TEST_DATABASE_URL names a server that the tests may not stop")
    payer, receiver = server.join("Neo"), server.join("Trinity")
    assert server.pay(payer, receiver, 1)[0] == 201
    database.embedded.stop()
    try:
        status, body = server.pay(payer, receiver, 1)
        assert (status, body["status"]) == (503, 503)
        assert server.call("/health/ready")[0] == 503
        assert server.call("/health")[0] == 200
    finally:
        database.embedded.start()
        for ours in (engine, owner):
            ours.dispose()
    server.await_ready()
    answers = [server.pay(payer, receiver, 1)[0] for _ in range(20)]
    assert answers[-1] == 201
    assert server.balance(payer) == 1000 - 1 - answers.count(201)
