"""Requests that end early, are too long, malformed or slow: each is refused, changes nothing, and delays no other."""

import asyncio
import itertools
import json
import os
import re
import signal
import socket
import time
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from http.client import HTTPResponse
from pathlib import Path
from statistics import median
from threading import Event
from typing import TYPE_CHECKING

import pytest
from sqlalchemy import Engine, text

from neobank.contract import CONTRACT
from neobank.serving import gateway
from neobank.serving.gateway import MAX_BODY, MAX_LARGE, SMALL_BODY, Gateway, Message, Scope
from neobank.settings import UpgradeSettings
from neobank.web.refusals import ENVIRON
from tests.bank import Bank, Player
from tests.service import rigged
from tests.service.locks import await_waiting, locked_balance
from tests.service.serving import PATIENCE, WORKERS, Served, gunicorn
from tests.service.support import ADMINISTRATOR, Database

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIEnvironment


MANY = 200
NUMBERS = itertools.count(1)  # of new players
PROBE = 5  # seconds; the stalls that these tests look for last 30 and more

LIVE = b"GET /health HTTP/1.1\r\nHost: bank\r\n\r\n"
PAYMENT = "/api/v1/transactions"
IMPORT = "/api/admin/users/import"


@contextmanager
def connected(bank: Bank, timeout: float = PATIENCE) -> Iterator[socket.socket]:
    host, port = bank.address.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=timeout) as connection:
        yield connection


def head(path: str, token: str, *fields: str, kind: str = "application/json") -> bytes:
    lines = [f"POST {path} HTTP/1.1", "Host: bank", f"Authorization: Bearer {token}", f"Content-Type: {kind}", *fields]
    return "\r\n".join([*lines, "", ""]).encode()


def chunked(*chunks: bytes) -> bytes:
    return b"".join(b"%x\r\n%b\r\n" % (len(chunk), chunk) for chunk in chunks)


def answer(connection: socket.socket) -> tuple[int, str]:
    """Return status and content type of the response."""
    with HTTPResponse(connection) as response:
        response.begin()
        response.read()
        return response.status, response.headers["Content-Type"]


def players(owner: Engine) -> int:
    with owner.connect() as connection:
        found: int = connection.execute(text("SELECT count(*) FROM players")).scalar_one()
    return found


@pytest.fixture(scope="module")
def serving(
    database: Database, fresh_for_all: UpgradeSettings, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Served]:
    """One server for the tests that leave it as it was."""
    del fresh_for_all
    log = tmp_path_factory.mktemp("serving") / "gunicorn.log"
    with gunicorn(database.url("application"), log) as running:
        yield running


@pytest.fixture
def pair(serving: Served) -> tuple[Player, Player]:
    return serving.bank.join(f"Payer {next(NUMBERS)}"), serving.bank.join(f"Receiver {next(NUMBERS)}")


@pytest.fixture
def organiser(serving: Served) -> Player:
    return serving.bank.log_in(ADMINISTRATOR.name, ADMINISTRATOR.password)


def payment(receiver: Player) -> bytes:
    return json.dumps({"to_account": receiver.number, "amount": 1}).encode()


def test_a_complete_json_text_in_an_unfinished_body_pays_nothing(serving: Served, pair: tuple[Player, Player]) -> None:
    payer, receiver = pair
    body = payment(receiver)
    for unfinished in (
        head(PAYMENT, payer.token, f"Content-Length: {len(body) + 1}") + body,
        head(PAYMENT, payer.token, "Transfer-Encoding: chunked") + chunked(body),
        head(PAYMENT, payer.token, "Transfer-Encoding: chunked") + b"fff\r\n" + body,
    ):
        with connected(serving.bank) as connection:
            connection.sendall(unfinished)
        with connected(serving.bank) as connection:
            connection.sendall(unfinished)
            connection.shutdown(socket.SHUT_WR)
            assert answer(connection) == (400, "application/problem+json")
    assert (serving.bank.balance(payer), serving.bank.balance(receiver)) == (1000, 1000)


def test_a_half_closed_connection_still_receives_its_response(serving: Served, pair: tuple[Player, Player]) -> None:
    payer, receiver = pair
    body = payment(receiver)
    with connected(serving.bank) as connection:
        connection.sendall(head(PAYMENT, payer.token, f"Content-Length: {len(body)}") + body)
        connection.shutdown(socket.SHUT_WR)
        assert answer(connection) == (201, "application/json")
        assert connection.recv(1) == b""
    assert serving.bank.balance(receiver) == 1001


def test_an_import_that_ends_within_a_line_imports_nothing(serving: Served, organiser: Player, owner: Engine) -> None:
    before = players(owner)
    rows = b"name,faction,opening_balance\nUa,,25\nUb,,2500\n"
    cut = rows.index(b"00\n")
    for fields, body in [
        ([f"Content-Length: {len(rows)}"], rows[:cut]),
        (["Transfer-Encoding: chunked"], chunked(rows[:20], rows[20:cut])),
    ]:
        with connected(serving.bank) as connection:
            connection.sendall(head(IMPORT, organiser.token, *fields, kind="text/csv") + body)
            connection.shutdown(socket.SHUT_WR)
            assert answer(connection)[0] == 400
    assert players(owner) == before


def test_a_body_beyond_the_limit_is_refused_as_a_whole(serving: Served, organiser: Player, owner: Engine) -> None:
    before = players(owner)
    rows = b"name\n" + b"".join(b"Player %06d\n" % number for number in range(MAX_BODY // 14 + 1))
    assert len(rows) > MAX_BODY
    for path in (PAYMENT, IMPORT):
        for framing, body in [
            (f"Content-Length: {len(rows)}", rows),
            ("Transfer-Encoding: chunked", chunked(rows[:10_000], rows[10_000:]) + b"0\r\n\r\n"),
        ]:
            with connected(serving.bank) as connection:
                with suppress(ConnectionError):  # the response may come before the end of the body
                    connection.sendall(head(path, organiser.token, framing, kind="text/csv") + body)
                assert answer(connection) == (413, "application/problem+json")
    assert players(owner) == before
    assert serving.bank.is_ready()


def test_a_malformed_request_gets_a_problem_and_no_other_answer(serving: Served, pair: tuple[Player, Player]) -> None:
    for fields, body, status in [
        (["Transfer-Encoding: chunked"], b"xyz\r\n{}\r\n0\r\n\r\n", 400),
        (["Transfer-Encoding: chunked"], b"2\r\n{}}\r\n0\r\n\r\n", 400),
        (["Transfer-Encoding: chunked"], b"-2\r\n{}\r\n0\r\n\r\n", 400),
        (["Transfer-Encoding: chunked", "Content-Length: 2"], b"2\r\n{}\r\n0\r\n\r\n", 400),
        (["Content-Length: 2", "Content-Length: 3"], b"{} ", 400),
        (["Content-Length: -1"], b"{}", 400),
        (["Content-Length: two"], b"{}", 400),
        (["Transfer-Encoding: gzip"], b"{}", 400),
        (["Broken header"], b"{}", 400),
        (["X-Large: " + "x" * 100_000], b"{}", 431),
    ]:
        with connected(serving.bank) as connection:
            connection.sendall(head(PAYMENT, pair[0].token, *fields) + body)
            assert answer(connection) == (status, "application/problem+json"), fields
            assert connection.recv(1) == b""


def test_a_body_that_is_announced_as_too_long_is_not_asked_for(serving: Served, organiser: Player) -> None:
    fields = [f"Content-Length: {MAX_BODY + 1}", "Expect: 100-continue"]
    with connected(serving.bank) as connection:
        connection.sendall(head(IMPORT, organiser.token, *fields, kind="text/csv"))
        assert answer(connection) == (413, "application/problem+json")
        assert connection.recv(1) == b""


def test_requests_in_a_row_on_one_connection_are_answered_in_their_order(
    serving: Served, pair: tuple[Player, Player]
) -> None:
    payer, receiver = pair
    body = payment(receiver)
    one = head(PAYMENT, payer.token, f"Content-Length: {len(body)}") + body
    last = b"GET /health HTTP/1.1\r\nHost: bank\r\nConnection: close\r\n\r\n"
    with connected(serving.bank) as connection, connection.makefile("rb") as received:
        connection.sendall(one * 3 + last)
        answers = received.read()
    assert re.findall(rb"^HTTP/1.1 (\d+) ", answers, re.MULTILINE) == [b"201", b"201", b"201", b"200"]
    assert serving.bank.balance(receiver) == 1003


def test_unfinished_requests_delay_neither_payments_nor_probes(serving: Served, pair: tuple[Player, Player]) -> None:
    payer, receiver = pair
    unfinished_head = b"POST /api/v1/transactions HTTP/1.1\r\nHost: bank\r\nX-"
    unfinished_body = head(PAYMENT, payer.token, "Content-Length: 500") + b'{"to_account'
    with ExitStack() as held:
        for part in [unfinished_head] * MANY + [unfinished_body] * MANY:
            held.enter_context(connected(serving.bank)).sendall(part)
        for _ in range(10):
            with connected(serving.bank) as probe:
                probe.settimeout(PROBE)
                probe.sendall(b"GET /health HTTP/1.1\r\nHost: bank\r\n\r\n")
                assert answer(probe)[0] == 200
            assert serving.bank.pay(payer, receiver, 1)[0] == 201
    assert serving.bank.balance(receiver) == 1010


def test_a_client_that_does_not_finish_its_head_is_disconnected(
    database: Database, fresh: UpgradeSettings, tmp_path: Path
) -> None:
    del fresh
    whole = b"GET /health HTTP/1.1\r\nHost: bank\r\n\r\n"
    with gunicorn(database.url("application"), tmp_path / "log", GUNICORN_CMD_ARGS="--keep-alive 1") as served:
        for part in (b"", whole[:-2], whole, whole + whole[:-2]):
            with connected(served.bank) as connection:
                connection.sendall(part)
                if part.startswith(whole):
                    assert answer(connection)[0] == 200
                with suppress(ConnectionResetError):
                    assert connection.recv(1) == b""


@contextmanager
def holding(bank: Bank, count: int) -> Iterator[None]:
    """Keep idle connections open until the end of the block."""
    with ExitStack() as held:
        for _ in range(count):
            connection = held.enter_context(connected(bank))
            connection.sendall(LIVE)
            assert answer(connection)[0] == 200
        yield


def durations(bank: Bank, count: int = 20) -> list[float]:
    """Return the seconds that each of some probes took, one after another, each on a new connection."""
    found = []
    for _ in range(count):
        started = time.monotonic()
        with connected(bank) as connection:
            connection.sendall(LIVE)
            assert answer(connection)[0] == 200
        found.append(time.monotonic() - started)
    return found


def assert_no_delay(during: list[float], before: list[float]) -> None:
    """Assert that a quarter of the durations contains no delay; the machine may delay the others."""
    assert sorted(during)[len(during) // 4] < 3 * median(before)


def await_each_worker(served: Served) -> None:
    """Wait until every worker answers."""
    for worker in served.workers():
        with served.only(worker), holding(served.bank, 1):
            pass


def test_connections_spread_evenly_over_the_workers(served: Served) -> None:
    await_each_worker(served)
    with holding(served.bank, 8):
        counts = sorted(served.connections(worker) for worker in served.workers())
    assert len(counts) == WORKERS
    assert sum(counts) == 8
    assert counts[0] >= 2  # on a loaded machine a worker may take one that was the turn of the other


@pytest.fixture
def gate(tmp_path: Path) -> Iterator[Path]:
    """The file that keeps rigged workers from booting while it exists."""
    gate = tmp_path / "gate"
    yield gate
    gate.unlink(missing_ok=True)


@pytest.fixture
def served_rigged(database: Database, fresh: UpgradeSettings, tmp_path: Path, gate: Path) -> Iterator[Served]:
    del fresh
    app = f"{rigged.__name__}:create_app()"
    with gunicorn(database.url("application"), tmp_path / "log", application=app, BOOT_GATE=str(gate)) as running:
        yield running
        gate.unlink(missing_ok=True)


def test_full_workers_leave_clients_in_the_queue_and_use_no_processor_time(served_rigged: Served) -> None:
    waiting = LIVE.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n")
    with ExitStack() as pending:
        with holding(served_rigged.bank, WORKERS * rigged.MAX_CONNECTIONS):
            clients = [pending.enter_context(connected(served_rigged.bank)) for _ in range(20)]
            for client in clients:
                client.sendall(waiting)
            used, period = served_rigged.processor_seconds(), 1
            time.sleep(period)
            used = served_rigged.processor_seconds() - used
            counts = {served_rigged.connections(worker) for worker in served_rigged.workers()}
        assert [answer(client)[0] for client in clients] == [200] * len(clients)
    assert counts == {rigged.MAX_CONNECTIONS}
    assert used < period * WORKERS / 5


def test_a_worker_that_leaves_connections_to_a_stopped_one_uses_no_processor_time_meanwhile(serving: Served) -> None:
    def processor_seconds() -> float:
        before = serving.processor_seconds()
        durations(serving.bank, 50)
        return serving.processor_seconds() - before

    await_each_worker(serving)
    otherwise = processor_seconds()
    with serving.only(min(serving.workers())), holding(serving.bank, 5):
        assert processor_seconds() < 5 * otherwise


def test_a_booting_worker_delays_no_connection(served_rigged: Served, gate: Path) -> None:
    await_each_worker(served_rigged)
    before = durations(served_rigged.bank)
    gate.touch()
    os.kill(min(served_rigged.workers()), signal.SIGKILL)
    deadline = time.monotonic() + PATIENCE
    while not gate.read_text():
        assert time.monotonic() < deadline, "no worker boots"
        time.sleep(0.01)
    with holding(served_rigged.bank, 1):
        assert_no_delay(durations(served_rigged.bank), before)


def test_a_draining_worker_delays_no_connection(served: Served, owner: Engine, engine: Engine) -> None:
    payer, receiver = served.bank.join("Neo"), served.bank.join("Trinity")
    body = payment(receiver)
    await_each_worker(served)
    draining, other = served.workers()
    with ExitStack() as held:
        with locked_balance(owner, payer.number):
            with served.only(draining):
                idle, paying = (held.enter_context(connected(served.bank)) for _ in range(2))
                idle.sendall(LIVE)
                assert answer(idle)[0] == 200
                paying.sendall(head(PAYMENT, payer.token, f"Content-Length: {len(body)}") + body)
                await_waiting(engine, 1)
            with served.only(other):
                held.enter_context(holding(served.bank, 2))
            before = durations(served.bank)
            os.kill(draining, signal.SIGTERM)
            assert idle.recv(1) == b""
            assert_no_delay(durations(served.bank), before)
        assert answer(paying)[0] == 201


def test_hundreds_of_clients_connect_while_no_worker_accepts(serving: Served) -> None:
    with ExitStack() as held:
        with serving.only():
            clients = [held.enter_context(connected(serving.bank, PROBE)) for _ in range(MANY)]
            for client in clients:
                client.sendall(LIVE)
        for client in clients:
            assert answer(client)[0] == 200


def demo_application(environ: "WSGIEnvironment", start_response: "StartResponse") -> Iterable[bytes]:
    """Answer a refused request with its status, others with their body."""
    refusal = environ[ENVIRON]
    start_response(f"{refusal.status if refusal else 200} -", [("Content-Type", "text/plain")])
    return [environ["wsgi.input"].read()]


@dataclass
class Exchange:
    """One request to a gateway: the messages of its body, then silence, and the response."""

    messages: list[Message]
    path: bytes = b"/"
    sent: list[Message] = field(default_factory=list)

    async def receive(self) -> Message:
        if self.messages:
            return self.messages.pop(0)
        await asyncio.Event().wait()
        raise AssertionError

    async def send(self, message: Message) -> None:
        self.sent.append(message)

    async def with_(self, gateway: Gateway) -> object:
        """Return the status of the response, or None without one."""
        scope = Scope(
            type="http",
            http_version="1.1",
            method="POST",
            scheme="http",
            raw_path=self.path,
            query_string=b"",
            headers=[],
            server=None,
            client=None,
        )
        await gateway(scope, self.receive, self.send)
        return self.sent[0]["status"] if self.sent else None


def part(body: bytes, *, more: bool = True) -> Message:
    return {"type": "http.request", "body": body, "more_body": more}


def test_a_body_that_is_too_slow_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gateway, "BODY_SECONDS", 0.01)

    async def run() -> object:
        return await Exchange([part(b"x")]).with_(Gateway(demo_application, threads=2))

    assert asyncio.run(run()) == 408


def test_more_large_bodies_than_a_worker_holds_wait_and_small_ones_do_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gateway, "BODY_SECONDS", 0.2)
    large = b"x" * (SMALL_BODY + 1)

    async def run() -> list[object]:
        worker = Gateway(demo_application, threads=2)
        held = [asyncio.create_task(Exchange([part(large)]).with_(worker)) for _ in range(MAX_LARGE)]
        for _ in range(10):
            await asyncio.sleep(0)
        assert worker._large.locked()
        late = asyncio.create_task(Exchange([part(large), part(b"", more=False)]).with_(worker))
        small = await Exchange([part(large[:SMALL_BODY], more=False)]).with_(worker)
        assert not late.done()
        return [small, await late, *await asyncio.gather(*held)]

    small, late, *held = asyncio.run(run())
    assert small == 200
    assert set(held) == {408}
    assert late in {200, 408}


def test_a_request_that_waited_too_long_for_a_thread_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gateway, "MAX_WAIT", -1)

    async def run() -> object:
        return await Exchange([part(b"", more=False)]).with_(Gateway(demo_application, threads=1))

    assert asyncio.run(run()) == 503


def test_the_liveness_probe_needs_none_of_the_threads() -> None:
    begun, done = Event(), Event()

    def application(environ: "WSGIEnvironment", start_response: "StartResponse") -> Iterable[bytes]:
        if environ["PATH_INFO"] == "/slow":
            begun.set()
            done.wait(PATIENCE)
        return demo_application(environ, start_response)

    async def run() -> list[object]:
        worker = Gateway(application, threads=1)
        slow = asyncio.create_task(Exchange([part(b"", more=False)], b"/slow").with_(worker))
        await asyncio.to_thread(begun.wait, PATIENCE)
        probe = await Exchange([part(b"", more=False)], CONTRACT.live_path.encode()).with_(worker)
        assert not slow.done()
        done.set()
        return [probe, await slow]

    assert asyncio.run(run()) == [200, 200]


def test_a_stopping_server_answers_what_arrived_and_closes_idle_connections(
    served: Served, pair: tuple[Player, Player], owner: Engine, engine: Engine
) -> None:
    payer, receiver = pair
    body = payment(receiver)
    with connected(served.bank) as idle, connected(served.bank) as paying:
        idle.sendall(b"GET /health HTTP/1.1\r\nHost: bank\r\n\r\n")
        assert answer(idle)[0] == 200
        with locked_balance(owner, payer.number):
            paying.sendall(head(PAYMENT, payer.token, f"Content-Length: {len(body)}") + body)
            await_waiting(engine, 1)
            served.process.terminate()
            assert idle.recv(1) == b""
        assert answer(paying)[0] == 201
        assert paying.recv(1) == b""
    assert served.process.wait(PATIENCE) == 0


def test_connections_of_clients_that_left_do_not_delay_the_stop(served: Served) -> None:
    whole = b"GET /health/ready HTTP/1.1\r\nHost: bank\r\n\r\n"
    for part in (b"", whole[:-2], whole, whole * 2, whole + whole[:-2]):
        for _ in range(3):
            with connected(served.bank) as connection:
                connection.sendall(part)
    served.process.terminate()
    assert served.process.wait(PATIENCE) == 0
    assert served.log.read_text().count("Worker exiting") == WORKERS  # the master kills a worker that takes too long
