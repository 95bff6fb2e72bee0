"""Password hashing is slow; only a limited number of requests may wait for it, so that others are not delayed."""

import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from functools import partial
from threading import Event

import pytest
from argon2 import PasswordHasher, Type, extract_parameters
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from neobank.application import create_app
from neobank.players import passwords
from neobank.settings import ServingSettings
from tests.service.support import Join, LoggedIn

pytestmark = pytest.mark.usefixtures("books")

THREADS = 8
PLACES = 6
DEADLINE = 60


@contextmanager
def busy_hashing() -> Iterator[None]:
    """Occupy the thread that hashes until the end of the block."""
    begun, done = Event(), Event()

    def occupy() -> None:
        begun.set()
        assert done.wait(DEADLINE)

    with ThreadPoolExecutor(1) as pool:
        occupied = pool.submit(passwords._queue._thread.submit, occupy)
        assert begun.wait(DEADLINE)
        try:
            yield
        finally:
            done.set()
            occupied.result()


def await_hashing(count: int) -> None:
    """Wait until so many passwords wait for the thread that hashes."""
    deadline = time.monotonic() + DEADLINE
    while passwords._queue._thread._work_queue.qsize() < count:
        assert time.monotonic() < deadline, f"fewer than {count} passwords wait"
        time.sleep(0.001)


def requests(client: FlaskClient, neo: LoggedIn, organiser: LoggedIn) -> dict[str, Callable[[], TestResponse]]:
    """Return a request for each route that hashes a password."""
    who = {"character_name": "Newcomer", "password": "white rabbit"}
    change = {"current_password": "password of Neo", "new_password": "another white rabbit"}
    reset = f"/api/admin/users/{neo.number}/reset-password"
    new = {"new_password": "another white rabbit"}
    return {
        "register": lambda: client.post("/api/v1/auth/register", json=who),
        "login": lambda: client.post("/api/v1/auth/login", json=who),
        "change": lambda: client.put("/api/v1/account/password", json=change, headers=neo.headers),
        "reset": lambda: client.post(reset, json=new, headers=organiser.headers),
    }


@pytest.mark.parametrize("route", ["register", "login", "change", "reset"])
def test_at_most_three_quarters_of_the_threads_wait_and_payments_succeed(
    settings: ServingSettings, player: Join, organiser: LoggedIn, route: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(passwords, "MAX_WAIT", DEADLINE)
    neo, trinity = player("Neo"), player("Trinity")
    client = create_app(replace(settings, threads=THREADS)).test_client()
    send = requests(client, neo, organiser)[route]
    count = 3 * THREADS
    with ThreadPoolExecutor(count) as pool, ExitStack() as held:
        held.enter_context(busy_hashing())
        sent = {pool.submit(send) for _ in range(count)}
        refused: set[Future[TestResponse]] = set()
        waiting = sent
        while len(refused) < count - PLACES:
            done, waiting = wait(waiting, timeout=DEADLINE, return_when=FIRST_COMPLETED)
            assert done, f"only {len(refused)} of {count} requests were rejected"
            refused |= done
        for answer in (future.result() for future in refused):
            assert (answer.status_code, answer.content_type) == (503, "application/problem+json")
            assert int(answer.headers["Retry-After"]) >= 1
        payment = {"to_account": trinity.number, "amount": 1}
        paid = client.post("/api/v1/transactions", json=payment, headers=neo.headers)
        assert paid.status_code == 201, paid.text
        assert not any(future.done() for future in waiting)
        held.close()
        assert all(future.result(DEADLINE).status_code != 503 for future in waiting)


def test_a_hundred_registrations_wait_without_a_connection_and_all_succeed(
    settings: ServingSettings, player: Join, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(passwords, "MAX_WAIT", DEADLINE)
    neo, trinity = player("Neo"), player("Trinity")
    app = create_app(replace(settings, threads=256, connections=1))
    client = app.test_client()

    def register(number: int) -> int:
        who = {"character_name": f"Player {number}", "password": "white rabbit"}
        return client.post("/api/v1/auth/register", json=who).status_code

    with ThreadPoolExecutor(100) as pool, ExitStack() as held:
        held.enter_context(busy_hashing())
        registered = [pool.submit(register, number) for number in range(100)]
        await_hashing(100)
        payment = {"to_account": trinity.number, "amount": 1}
        paid = client.post("/api/v1/transactions", json=payment, headers=neo.headers)
        assert paid.status_code == 201, paid.text
        held.close()
        assert {future.result(DEADLINE) for future in registered} == {201}


def test_a_request_that_waits_too_long_is_rejected_and_gives_its_place_back(
    settings: ServingSettings, player: Join, monkeypatch: pytest.MonkeyPatch
) -> None:
    player("Neo")
    client = create_app(replace(settings, threads=2)).test_client()
    who = {"character_name": "Neo", "password": "password of Neo"}
    monkeypatch.setattr(passwords, "MAX_WAIT", 0.01)
    with busy_hashing():
        assert [client.post("/api/v1/auth/login", json=who).status_code for _ in range(5)] == [503] * 5
    monkeypatch.setattr(passwords, "MAX_WAIT", DEADLINE)
    assert client.post("/api/v1/auth/login", json=who).status_code == 200


def test_passwords_are_hashed_in_the_order_of_the_requests() -> None:
    passwords.size_queue(64)
    order: list[int] = []
    with ThreadPoolExecutor(10) as pool, busy_hashing():
        for number in range(10):
            pool.submit(passwords._queue.run, partial(order.append, number))
            await_hashing(number + 1)
    assert order == list(range(10))


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux has priorities of threads")
def test_hashing_has_a_lower_priority_than_the_threads_that_answer() -> None:
    own = os.getpriority(os.PRIO_PROCESS, threading.get_native_id())
    hashing = passwords._queue.run(lambda: os.getpriority(os.PRIO_PROCESS, threading.get_native_id()))
    assert hashing == min(own + passwords.NICENESS, 19)


@pytest.mark.parametrize(("threads", "places"), [(1, 1), (2, 1), (8, 6), (128, 96)])
def test_three_quarters_of_the_threads_may_wait_and_at_least_one(threads: int, places: int) -> None:
    passwords.size_queue(threads)
    with ExitStack() as held:
        for _ in range(places):
            assert passwords._queue._places.acquire(blocking=False)
            held.callback(passwords._queue._places.release)
        with pytest.raises(passwords.TooManyAtOnce):
            passwords._queue.run(int)


@pytest.fixture
def hashed(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Collect the memory cost of each password verification, which determines its duration."""
    costs: list[int] = []
    verify = PasswordHasher.verify

    def counted(hasher: PasswordHasher, kept: str, password: str) -> bool:
        costs.append(extract_parameters(kept).memory_cost)
        return verify(hasher, kept, password)

    monkeypatch.setattr(PasswordHasher, "verify", counted)
    return costs


def test_a_rejected_login_hashes_the_same_for_every_name(
    client: FlaskClient, player: Join, organiser: LoggedIn, hashed: list[int]
) -> None:
    """One-time passwords have cheaper hashes, so those accounts could be recognised by a faster rejection."""
    player("Neo")
    for name, action in [("Frozen", "freeze"), ("Reset", "reset-password")]:
        path = f"/api/admin/users/{player(name).number}/{action}"
        body = {"new_password": "one time only"} if action == "reset-password" else {}
        assert client.post(path, json=body, headers=organiser.headers).status_code == 200
    imported = client.post(
        "/api/admin/users/import", data="name\nImported\n", content_type="text/csv", headers=organiser.headers
    )
    assert imported.status_code == 201
    answers, costs = [], []
    for name in ("Nobody", "SYSTEM", "Neo", "Frozen", "Reset", "Imported"):
        hashed.clear()
        who = {"character_name": name, "password": "not this one"}
        answers.append(client.post("/api/v1/auth/login", json=who))
        costs.append([cost for cost in hashed if cost > 8])
    assert [answer.status_code for answer in answers] == [401] * len(answers)
    assert {answer.text for answer in answers} == {answers[0].text}
    assert costs == [[19 * 1024]] * len(answers)


def test_the_parameters_are_those_of_owasp() -> None:
    found = extract_parameters(passwords.hash_password("white rabbit"))
    assert (found.type, found.memory_cost, found.time_cost, found.parallelism) == (Type.ID, 19 * 1024, 2, 1)
