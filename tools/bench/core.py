"""The ledger's core under load: processes that call `pay` as the service does, with no web in between."""

import multiprocessing
import random
import time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing.synchronize import Barrier
from typing import Self

from sqlalchemy import URL, Engine

from neobank.database import connect
from neobank.ledger.operations import Kind, pay
from tools.bench.bank import Traffic


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
        """Give the transfers per second that all of them make together."""
        return sum(self._pool.map(_pay, [traffic] * self._clients, [seconds] * self._clients, range(self._clients)))


_engine: Engine
_together: Barrier


def _open(url: URL, together: Barrier) -> None:
    global _engine, _together  # a pool's process has no other place for what it keeps
    _engine, _together = connect(url, single_statements=True), together


def _pay(traffic: Traffic, seconds: float, seed: int) -> float:
    chance = random.Random(seed)  # noqa: S311  # the same each time
    paid = 0
    with _engine.connect() as connection:  # held throughout, as pgbench holds its own
        _together.wait(60)
        started = time.monotonic()
        while time.monotonic() < started + seconds:
            payer, receiver = traffic.draw(chance)
            pay(
                connection,
                debit=payer.account_id,
                credit_number=receiver.number,
                amount=1,
                kind=Kind.TRANSFER,
                memo="",
                actor=payer.account_id,
            )
            paid += 1
        return paid / (time.monotonic() - started)
