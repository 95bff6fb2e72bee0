"""A client of the bank over HTTP, and threads of clients that pay continuously."""

import http.client
import json
import random
import threading
import time
import urllib.error
import urllib.request
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from email.message import Message
from types import MappingProxyType
from typing import Self, TypedDict

PATIENCE = 60  # seconds
PAYERS = 8


class User(TypedDict):
    account_number: str
    balance: float


class Transaction(TypedDict):
    id: int


class Key(TypedDict):
    id: int


class Body(TypedDict, total=False):
    """The fields of a response that the tests read."""

    user: User
    account: User
    access_token: str
    error: str
    status: int
    transaction: Transaction
    transactions: list[Transaction]
    next: int | None
    id: int
    code: str
    key: str
    api_key: Key


@dataclass(frozen=True)
class Player:
    """A player who has logged in."""

    number: str
    token: str


@dataclass(frozen=True)
class Bank:
    """A running service."""

    address: str

    def call(
        self,
        path: str,
        body: dict[str, object] | None = None,
        token: str = "",
        more_headers: Mapping[str, str] = MappingProxyType({}),
        method: str | None = None,
    ) -> tuple[int, Body]:
        """Send one request; return status and body, whatever the status. Raise OSError if there is no response.

        Without a `method`, a request with a body is a POST, and one without a body is a GET.
        """
        status, answer, _ = self.ask(path, body, token, more_headers, method)
        return status, answer

    def ask(
        self,
        path: str,
        body: dict[str, object] | None = None,
        token: str = "",
        more_headers: Mapping[str, str] = MappingProxyType({}),
        method: str | None = None,
    ) -> tuple[int, Body, Message]:
        """Send one request as `call` does; return the headers as well."""
        headers = {"Content-Type": "application/json"} | ({"Authorization": f"Bearer {token}"} if token else {})
        headers |= more_headers
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self.address + path, data, headers, method=method)  # noqa: S310  # loopback
        try:
            with urllib.request.urlopen(request, timeout=PATIENCE) as answer:  # noqa: S310
                return answer.status, json.loads(answer.read() or b"{}"), answer.headers
        except urllib.error.HTTPError as error:
            return error.code, json.load(error), error.headers
        except http.client.HTTPException as error:
            raise ConnectionError(str(error)) from error

    def call_patiently(self, path: str, body: dict[str, object] | None = None, token: str = "") -> tuple[int, Body]:
        """Repeat the request while the status is 503: the first one after a database restart may get it."""
        deadline = time.monotonic() + PATIENCE
        while True:
            status, answer = self.call(path, body, token)
            if status != 503 or time.monotonic() > deadline:
                return status, answer
            time.sleep(0.1)

    def join(self, name: str) -> Player:
        """Register and log in."""
        who: dict[str, object] = {"character_name": name, "password": "password of " + name}
        status, body = self.call_patiently("/api/v1/auth/register", who)
        assert status == 201, body
        return self.log_in(name, "password of " + name)

    def log_in(self, name: str, password: str) -> Player:
        status, body = self.call_patiently("/api/v1/auth/login", {"character_name": name, "password": password})
        assert status == 200, body
        return Player(body["user"]["account_number"], body["access_token"])

    def pay(self, payer: Player, receiver: Player, amount: float) -> tuple[int, Body]:
        payment: dict[str, object] = {"to_account": receiver.number, "amount": amount}
        return self.call("/api/v1/transactions", payment, payer.token)

    def balance(self, player: Player) -> float:
        status, body = self.call_patiently("/api/v1/account", token=player.token)
        assert status == 200, body
        return body["account"]["balance"]

    def transactions(self, player: Player) -> set[int]:
        """Return the ids of all of a player's transactions."""
        found: set[int] = set()
        page = "limit=100"
        while True:
            status, body = self.call_patiently(f"/api/v1/account/transactions?{page}", token=player.token)
            assert status == 200, body
            found |= {transaction["id"] for transaction in body["transactions"]}
            if body["next"] is None:
                return found
            page = f"limit=100&before={body['next']}"

    def is_ready(self) -> bool:
        try:
            return self.call("/health/ready")[0] == 200
        except OSError:
            return False

    def await_ready(self, patience: float = PATIENCE) -> None:
        deadline = time.monotonic() + patience
        while not self.is_ready():
            assert time.monotonic() < deadline, "the service did not become ready"
            time.sleep(0.05)


@dataclass
class Payers(ABC):
    """Eight threads that pay continuously until the end of the block."""

    bank: Bank
    players: list[Player]
    _stop: threading.Event = field(default_factory=threading.Event, init=False)
    _threads: list[threading.Thread] = field(default_factory=list, init=False)

    def __enter__(self) -> Self:
        self._threads = [threading.Thread(target=self._pay, args=(place,)) for place in range(PAYERS)]
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def await_confirmed(self, more: int, patience: float = 180) -> None:
        """Wait until this many more payments are confirmed."""
        goal, deadline = self._count() + more, time.monotonic() + patience
        while self._count() < goal:
            assert time.monotonic() < deadline, f"{self._count()} of {goal} payments; {self._refusals()[-3:]}"
            time.sleep(0.02)

    @abstractmethod
    def _count(self) -> int:
        """Return how many payments are confirmed."""

    @abstractmethod
    def _refusals(self) -> list[object]:
        """Return the responses that refused a payment."""

    @abstractmethod
    def _pay(self, place: int) -> None:
        """Pay until `_stop` is set; `place` is the number of the thread."""


@dataclass
class Crowd(Payers):
    """Players who pay each other and record what the bank confirmed."""

    confirmed: list[int] = field(default_factory=list)
    """The ids of the transactions."""
    refused: list[tuple[int, str]] = field(default_factory=list)
    unanswered: int = 0

    def missing(self) -> set[int]:
        """Return the ids of the confirmed payments that are no longer in any player's history."""
        known: set[int] = set()
        for player in self.players:
            known |= self.bank.transactions(player)
        return set(self.confirmed) - known

    def _count(self) -> int:
        return len(self.confirmed)

    def _refusals(self) -> list[object]:
        return [*self.refused]

    def _pay(self, place: int) -> None:
        chance = random.Random(place)  # noqa: S311  # a fixed seed repeats the run
        while not self._stop.is_set():
            payer, receiver = chance.sample(self.players, 2)
            try:
                status, body = self.bank.pay(payer, receiver, 0.01)
            except OSError:
                self.unanswered += 1
                self._stop.wait(0.1)
                continue
            if status == 201:
                self.confirmed.append(body["transaction"]["id"])
            else:
                self.refused.append((status, body["error"]))
                self._stop.wait(0.1)
