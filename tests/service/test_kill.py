"""Killing a worker or the database loses no confirmed payment, and repeated requests pay once."""

import os
import signal
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import pytest
from sqlalchemy import Engine

from tests.bank import Body, Player
from tests.service.flood import Flood
from tests.service.serving import Served, children
from tests.service.support import ADMINISTRATOR, Books, Database
from tools.postgres import Postgres


def kill_all(server: Postgres) -> None:
    """Kill PostgreSQL and its child processes, the postmaster first, so that it can not restart them."""
    assert server.process is not None
    started = children(server.process.pid)
    server.process.kill()
    for pid in started:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    server.kill()


def test_killing_workers_loses_and_repeats_no_payment(served: Served, engine: Engine, books: Books) -> None:
    players = [served.bank.join(f"Player {index}") for index in range(4)]
    with Flood(served.bank, players) as flood:
        flood.await_confirmed(50)
        for _ in range(3):
            served.kill_worker()
            flood.await_confirmed(30)
    assert flood.unanswered, "no payment was in progress when a worker was killed"
    flood.settle(engine)
    books()


def test_killing_the_database_loses_and_repeats_no_payment(
    served: Served, database: Database, engine: Engine, owner: Engine, books: Books
) -> None:
    if database.embedded is None:
        pytest.skip("NEOBANK_TEST_DATABASE_URL names a server that the tests may not kill")
    players = [served.bank.join(f"Player {index}") for index in range(4)]
    with Flood(served.bank, players) as flood:
        for _ in range(2):
            flood.await_confirmed(50)
            kill_all(database.embedded)
            database.embedded.start()
            for ours in (engine, owner):
                ours.dispose()
        flood.await_confirmed(50)
    assert flood.unanswered, "no payment was in progress when PostgreSQL was killed"
    flood.settle(engine)
    books()


def test_twenty_identical_requests_to_two_workers_move_money_once(served: Served) -> None:
    neo, trinity = served.bank.join("Neo"), served.bank.join("Trinity")
    payment: dict[str, object] = {"to_account": trinity.number, "amount": 7}

    def send(amount: int) -> tuple[int, Body]:
        return served.bank.call(
            "/api/v1/transactions", payment | {"amount": amount}, neo.token, {"Idempotency-Key": "k"}
        )

    with ThreadPoolExecutor(20) as pool:
        answers = list(pool.map(send, [7] * 20))
    assert {status for status, _ in answers} == {201}
    assert all(body == answers[0][1] for _, body in answers)
    assert send(8)[0] == 422
    assert served.bank.balance(neo) == 993


@pytest.fixture
def till(served: Served) -> tuple[Player, dict[str, str]]:
    """A vendor and the header of the vendor's terminal."""
    bar = served.bank.join("Bar")
    assert ADMINISTRATOR.password
    organiser = served.bank.log_in(ADMINISTRATOR.name, ADMINISTRATOR.password)
    wanted: dict[str, object] = {"description": "bar", "account": bar.number}
    status, body = served.bank.call("/api/admin/api-keys", wanted, organiser.token)
    assert status == 201, body
    return bar, {"X-API-Key": body["key"]}


def test_two_phones_pay_a_charge_once_and_it_is_refunded_once(
    served: Served, till: tuple[Player, dict[str, str]], books: Books
) -> None:
    bank, (bar, key) = served.bank, till
    phones = [bank.join("Neo"), bank.join("Trinity")]
    for _ in range(3):
        before = bank.balance(bar)
        status, charge = bank.call("/api/v1/external/charges", {"amount": 12.5}, more_headers=key)
        assert status == 201, charge
        path = f"/api/v1/charges/{charge['code']}/approve"
        with ThreadPoolExecutor(6) as pool:
            answers = list(pool.map(lambda phone, path=path: bank.call(path, {}, phone.token)[0], phones * 3))
        assert sorted(answers) == [201] + [409] * 5
        assert bank.balance(bar) == before + 12.5
        path = f"/api/v1/external/charges/{charge['id']}/refund"
        with ThreadPoolExecutor(6) as pool:
            answers = list(pool.map(lambda _, path=path: bank.call(path, {}, more_headers=key)[0], range(6)))
        assert sorted(answers) == [201] + [409] * 5
        assert bank.balance(bar) == before
    assert sum(bank.balance(phone) for phone in phones) == 2000
    books()
