"""The bank as it is served: several workers, many clients at once, a database that goes away and comes back."""

import json
import os
import random
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TypedDict

import pytest
from sqlalchemy import Engine

from neobank.contract import CONTRACT
from neobank.settings import UpgradeSettings
from tests.service.conftest import SECRET_KEY
from tests.service.support import Database
from tools.postgres import free_port


class User(TypedDict):
    account_number: str
    balance: float


class Body(TypedDict, total=False):
    """What the tests read of an answer."""

    user: User
    account: User
    access_token: str
    error: str
    status: int


@dataclass(frozen=True)
class Server:
    """A running service."""

    address: str

    def call(self, path: str, body: dict[str, object] | None = None, token: str = "") -> tuple[int, Body]:
        """Ask once; gives status and body, whatever the status."""
        headers = {"Content-Type": "application/json"} | ({"Authorization": f"Bearer {token}"} if token else {})
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self.address + path, data, headers)  # noqa: S310  # our own loopback
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:  # noqa: S310
                return answer.status, json.load(answer)
        except urllib.error.HTTPError as error:
            return error.code, json.load(error)

    def pay(self, token: str, receiver: str, amount: float) -> tuple[int, Body]:
        return self.call("/api/v1/transactions", {"to_account": receiver, "amount": amount}, token)

    def balance(self, token: str) -> float:
        return self.call("/api/v1/account", token=token)[1]["account"]["balance"]

    def join(self, name: str) -> tuple[str, str]:
        """Register and log in; gives the account's number and the token."""
        who: dict[str, object] = {"character_name": name, "password": "password of " + name}
        assert self.call("/api/v1/auth/register", who)[0] == 201
        body = self.call("/api/v1/auth/login", who)[1]
        return body["user"]["account_number"], body["access_token"]

    def await_ready(self, patience: float = 60) -> None:
        deadline = time.monotonic() + patience
        while not self._is_ready():
            assert time.monotonic() < deadline, "the service did not become ready"
            time.sleep(0.05)

    def _is_ready(self) -> bool:
        try:
            return self.call("/health/ready")[0] == 200
        except (urllib.error.URLError, OSError):
            return False


@pytest.fixture
def server(database: Database, fresh: UpgradeSettings, tmp_path: Path) -> Iterator[Server]:
    del fresh
    port = free_port()
    environment = {
        "PATH": os.environ["PATH"],
        "DATABASE_URL": database.url("application").render_as_string(hide_password=False),
        "SECRET_KEY": SECRET_KEY.decode(),
        "HOST": "127.0.0.1",
        "PORT": str(port),
        "WEB_WORKERS": "2",
    }
    command = [str(Path(sys.executable).with_name(CONTRACT.serve[0])), *CONTRACT.serve[1:]]
    log = tmp_path / "gunicorn.log"
    with log.open("wb") as output:
        process = subprocess.Popen(command, env=environment, stdout=output, stderr=output)
    try:
        running = Server(f"http://127.0.0.1:{port}")
        running.await_ready()
        yield running
    finally:
        process.terminate()
        process.wait(timeout=60)
        sys.stdout.write(log.read_text())  # pytest shows it when the test failed


def test_sixteen_clients_at_once_lose_and_create_nothing(server: Server, books: Callable[[], None]) -> None:
    players = [server.join(f"Player {index}") for index in range(6)]

    def wander(seed: int) -> dict[str, float]:
        chance = random.Random(seed)  # noqa: S311
        moved = dict.fromkeys((number for number, _ in players), 0.0)
        for _ in range(40):
            (payer, token), (receiver, _) = chance.sample(players, 2)
            amount = chance.randint(1, 40_000) / 100
            status, body = server.pay(token, receiver, amount)
            if status == 201:
                moved[payer] -= amount
                moved[receiver] += amount
            else:
                assert (status, "less than" in body["error"]) == (400, True), body
        return moved

    with ThreadPoolExecutor(16) as pool:
        moves = list(pool.map(wander, range(16)))
    for number, token in players:
        assert server.balance(token) == pytest.approx(1000 + sum(moved[number] for moved in moves), abs=0.001)
    books()


def test_a_database_that_restarts_is_a_503_and_then_forgotten(
    server: Server, database: Database, engine: Engine, owner: Engine
) -> None:
    if database.embedded is None:
        pytest.skip("NEOBANK_TEST_DATABASE_URL names a server that is not ours to stop")
    (_, payer), (receiver, _) = server.join("Neo"), server.join("Trinity")
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
