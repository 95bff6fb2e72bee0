"""Phones that ask over HTTP: keep-alive connections of one light process, each with one request under way."""

import random
import selectors
import socket
import time
from dataclasses import dataclass
from typing import Final

from tools.bench.traffic import Request, Traffic
from tools.errors import UserError

PATIENCE: Final = 30  # seconds for an answer


@dataclass(frozen=True, slots=True)
class Load:
    """What was seen while the phones asked."""

    answers: int
    rate: float
    """Answers per second."""
    p95: float
    """Seconds within which 95 of 100 were answered."""
    client_share: float
    """Of one core, for the phones themselves."""


class Phone:
    """One connection."""

    def __init__(self, port: int) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=PATIENCE)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._received = b""
        self._wanted = b""
        self._asked = 0.0

    def ask(self, request: Request) -> None:
        """Send a request."""
        self._wanted = f"HTTP/1.1 {request.status.value} ".encode()
        self._asked = time.monotonic()
        self.socket.sendall(request.encode())

    def receive(self) -> float | None:
        """Read what there is; gives the seconds it took once the answer is whole. Raises UserError if it is bad."""
        more = self.socket.recv(65536)
        self._received += more
        head, end, body = self._received.partition(b"\r\n\r\n")
        if not more or (end and not head.startswith(self._wanted)):
            raise UserError(f"the bank answered {self._received[:500]!r}")
        if not end or len(body) < int(head.lower().partition(b"content-length:")[2].split(b"\r\n")[0]):
            return None
        self._received = b""
        return time.monotonic() - self._asked


def send(port: int, traffic: Traffic, clients: int, seconds: float) -> Load:
    """Ask from so many phones for so long, each at least once. Raises UserError for an answer that is not good."""
    chance = random.Random(clients)  # noqa: S311  # the same each time
    times: list[float] = []
    started, busy = time.monotonic(), time.process_time()
    with selectors.DefaultSelector() as selector:
        for phone in [Phone(port) for _ in range(clients)]:
            selector.register(phone.socket, selectors.EVENT_READ, phone)
            phone.ask(traffic.draw(chance))
        while selector.get_map():
            ready = selector.select(PATIENCE)
            if not ready:
                raise UserError(f"the bank did not answer within {PATIENCE} seconds")
            for key, _ in ready:
                phone = key.data
                took = phone.receive()
                if took is None:
                    continue
                times.append(took)
                if time.monotonic() < started + seconds:
                    phone.ask(traffic.draw(chance))
                else:
                    selector.unregister(phone.socket)
                    phone.socket.close()
    elapsed = time.monotonic() - started
    times.sort()
    return Load(len(times), len(times) / elapsed, times[len(times) * 95 // 100], (time.process_time() - busy) / elapsed)
