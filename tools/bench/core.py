"""The core under load: processes that call it as the service does, with no web in between."""

import multiprocessing
import random
import time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing.synchronize import Barrier
from typing import Self

from sqlalchemy import URL, Engine

from neobank.database import connect, transactional
from tools.bench.traffic import Traffic


class Callers:
    """So many processes, each with one connection, kept from one measurement to the next."""

    def __init__(self, url: URL, clients: int) -> None:
        context = multiprocessing.get_context("spawn")
        self._clients = clients
        self._pool = ProcessPoolExecutor(clients, context, _open, (url, context.Barrier(clients)))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._pool.shutdown()

    def rate(self, traffic: Traffic, seconds: float) -> float:
        """Give how often a second all of them together do what the traffic is."""
        return sum(self._pool.map(_act, [traffic] * self._clients, [seconds] * self._clients, range(self._clients)))


_engine: Engine
_together: Barrier


def _open(url: URL, together: Barrier) -> None:
    global _engine, _together  # a pool's process has no other place for what it keeps
    _engine, _together = connect(url, single_statements=True), together


def _act(traffic: Traffic, seconds: float, seed: int) -> float:
    chance = random.Random(seed)  # noqa: S311  # the same each time
    done = 0
    engine = transactional(_engine) if traffic.in_transactions else _engine
    with engine.connect() as connection:  # held throughout, as pgbench holds its own
        _together.wait(60)
        started = time.monotonic()
        while time.monotonic() < started + seconds:
            traffic.act(connection, chance)
            done += 1
        return done / (time.monotonic() - started)
