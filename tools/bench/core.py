"""The core under load: as many processes and threads as the service has call it directly, without HTTP."""

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
    """Clients in several processes. Each has one connection, which is kept between measurements."""

    def __init__(self, url: URL, clients: int, processes: int) -> None:
        context = multiprocessing.get_context("spawn")
        self._processes = processes
        arguments = (url, clients // processes, context.Barrier(processes))
        self._pool = ProcessPoolExecutor(processes, context, _open, arguments)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._pool.shutdown()

    def rate(self, traffic: Traffic, seconds: float) -> float:
        """Return the operations per second of all clients together."""
        each = [traffic] * self._processes, [seconds] * self._processes, range(self._processes)
        return sum(self._pool.map(_measure, *each))


_engine: Engine
_threads: int
_barrier: Barrier


def _open(url: URL, threads: int, barrier: Barrier) -> None:
    global _engine, _threads, _barrier  # a process of a pool can keep state only in globals
    _engine, _threads, _barrier = connect(url, connections=threads, single_statements=True), threads, barrier


def _measure(traffic: Traffic, seconds: float, process: int) -> float:
    def run(thread: int) -> float:
        chance = random.Random(process * _threads + thread)  # noqa: S311  # the same sequence each time
        done = 0
        with _engine.connect() as connection:  # held during the whole measurement, as pgbench does
            started = time.monotonic()
            while time.monotonic() < started + seconds:
                traffic.execute(connection, chance)
                done += 1
            return done / (time.monotonic() - started)

    with ThreadPoolExecutor(_threads) as threads:
        _barrier.wait(60)
        return sum(threads.map(run, range(_threads)))
