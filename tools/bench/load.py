"""Clients over HTTP: keep-alive connections of one light process, each with one open request."""

import random
import selectors
import socket
import time
from dataclasses import dataclass
from typing import Final

from tools.bench.traffic import Request, Traffic
from tools.errors import UserError

PATIENCE: Final = 30  # seconds to wait for a response


@dataclass(frozen=True, slots=True)
class Load:
    """The result of one measurement."""

    responses: int
    rate: float
    """Responses per second."""
    p95: float
    """The 95th percentile of the response time, in seconds."""
    client_share: float
    """The part of one core that the clients themselves used."""


class Client:
    """One client with one connection."""

    def __init__(self, port: int) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=PATIENCE)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._received = b""
        self._expected = b""
        self._sent_at = 0.0

    def send(self, request: Request) -> None:
        """Send a request."""
        self._expected = f"HTTP/1.1 {request.status.value} ".encode()
        self._sent_at = time.monotonic()
        self.socket.sendall(request.encode())

    def receive(self) -> float | None:
        """Read the available bytes; return the response time in seconds once the response is complete, else None.

        Raise UserError if the status is not the expected one, or if the connection ended.
        """
        more = self.socket.recv(65536)
        self._received += more
        head, end, body = self._received.partition(b"\r\n\r\n")
        if not more or (end and not head.startswith(self._expected)):
            raise UserError(f"the bank's response is not the expected one: {self._received[:500]!r}")
        if not end or len(body) < int(head.lower().partition(b"content-length:")[2].split(b"\r\n")[0]):
            return None
        self._received = b""
        return time.monotonic() - self._sent_at


def send(port: int, traffic: Traffic, clients: int, seconds: float) -> Load:
    """Send requests from `clients` clients for `seconds`, at least one each. Raise UserError if a response is wrong."""
    chance = random.Random(clients)  # noqa: S311  # the same sequence each time
    times: list[float] = []
    started, busy = time.monotonic(), time.process_time()
    with selectors.DefaultSelector() as selector:
        for client in [Client(port) for _ in range(clients)]:
            selector.register(client.socket, selectors.EVENT_READ, client)
            client.send(traffic.draw(chance))
        while selector.get_map():
            ready = selector.select(PATIENCE)
            if not ready:
                raise UserError(f"the bank did not answer within {PATIENCE} seconds")
            for key, _ in ready:
                client = key.data
                took = client.receive()
                if took is None:
                    continue
                times.append(took)
                if time.monotonic() < started + seconds:
                    client.send(traffic.draw(chance))
                else:
                    selector.unregister(client.socket)
                    client.socket.close()
    return _load(times, started, busy)


def send_steadily(port: int, traffic: Traffic, rate: int, seconds: float) -> Load:
    """Send `rate` requests a second for `seconds`, each at its time, whether or not the earlier ones are answered.

    Raise UserError if a response is wrong.
    """
    chance = random.Random(rate)  # noqa: S311  # the same sequence each time
    times: list[float] = []
    idle: list[Client] = []
    started, busy = time.monotonic(), time.process_time()
    due = [started + number / rate for number in range(round(rate * seconds), 0, -1)]
    with selectors.DefaultSelector() as selector:
        while due or selector.get_map():
            ready = selector.select(max(0, due[-1] - time.monotonic()) if due else PATIENCE)
            if not ready and not due:
                raise UserError(f"the bank did not answer within {PATIENCE} seconds")
            for key, _ in ready:
                if (took := key.data.receive()) is not None:
                    times.append(took)
                    selector.unregister(key.data.socket)
                    idle.append(key.data)
            while due and due[-1] <= time.monotonic():
                due.pop()
                client = idle.pop() if idle else Client(port)
                selector.register(client.socket, selectors.EVENT_READ, client)
                client.send(traffic.draw(chance))
    for client in idle:
        client.socket.close()
    return _load(times, started, busy)


def _load(times: list[float], started: float, busy: float) -> Load:
    elapsed = time.monotonic() - started
    times.sort()
    return Load(len(times), len(times) / elapsed, times[len(times) * 95 // 100], (time.process_time() - busy) / elapsed)
