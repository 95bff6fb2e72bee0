"""The core under load: threads that call it as the service's do, in as many processes, with no web in between."""

import multiprocessing
import random
import time
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from multiprocessing.synchronize import Barrier
from typing import Self

from sqlalchemy import URL, Engine

from neobank.database import connect
from tools.bench.traffic import Traffic


class Callers:
    """So many clients, spread over some processes, each with one connection from one measurement to the next."""

    def __init__(self, url: URL, clients: int, processes: int) -> None:
        context = multiprocessing.get_context("spawn")
        self._processes = processes
        given = (url, clients // processes, context.Barrier(processes))
        self._pool = ProcessPoolExecutor(processes, context, _open, given)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._pool.shutdown()

    def rate(self, traffic: Traffic, seconds: float) -> float:
        """Give how often a second all of them together do what the traffic is."""
        each = [traffic] * self._processes, [seconds] * self._processes, range(self._processes)
        return sum(self._pool.map(_act, *each))


_engine: Engine
_threads: int
_together: Barrier


def _open(url: URL, threads: int, together: Barrier) -> None:
    global _engine, _threads, _together  # a pool's process has no other place for what it keeps
    _engine, _threads, _together = connect(url, connections=threads, single_statements=True), threads, together


def _act(traffic: Traffic, seconds: float, process: int) -> float:
    def act(thread: int) -> float:
        chance = random.Random(process * _threads + thread)  # noqa: S311  # the same each time
        done = 0
        with _engine.connect() as connection:  # held throughout, as pgbench holds its own
            started = time.monotonic()
            while time.monotonic() < started + seconds:
                traffic.act(connection, chance)
                done += 1
            return done / (time.monotonic() - started)

    with ThreadPoolExecutor(_threads) as threads:
        _together.wait(60)
        return sum(threads.map(act, range(_threads)))
