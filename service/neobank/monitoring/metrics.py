"""What a serving process counts and measures; a worker of gunicorn keeps it in a folder that all workers share.

Amounts are in hundredths, times in seconds. Money is counted once it is committed, and at most once: what the database
has committed is the truth, and a process that is killed between the commit and the count leaves these behind it.
"""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from sqlalchemy import Connection, Engine

from neobank.ledger.movements import Movement
from neobank.ledger.operations import Kind

BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)


class Metrics:
    """The metrics of one application. They are made with it, in a worker: before, nobody knows where they are kept."""

    def __init__(self, connections: int) -> None:
        self.registry = CollectorRegistry()
        self._requests = Histogram(
            "neobank_http_request_duration_seconds",
            "Requests, by how long they took.",
            ["method", "route", "status"],
            registry=self.registry,
            buckets=BUCKETS,
        )
        self.failed_logins = Counter(
            "neobank_failed_logins", "Log-ins with a name or a password that is wrong.", registry=self.registry
        )
        self._transfers = Counter(
            "neobank_transfers", "Transfers that were committed.", ["kind"], registry=self.registry
        )
        self._transferred = Counter(
            "neobank_transferred_hundredths",
            "Hundredths that committed transfers moved.",
            ["kind"],
            registry=self.registry,
        )
        for kind in Kind:  # from 0 on, so that a first transfer is an increase
            self._transfers.labels(kind)
            self._transferred.labels(kind)
        self._pool_in_use = self._of_living_workers("in_use", "Connections that requests are using.")
        self._pool_waiting = self._of_living_workers("waiting", "Requests that wait for a connection.")
        self._of_living_workers("size", "Connections that the pools may hold.").set(connections)

    def _of_living_workers(self, name: str, words: str) -> Gauge:
        return Gauge(f"neobank_database_pool_{name}", words, multiprocess_mode="livesum", registry=self.registry)

    def count_request(self, method: str, route: str, status: int, seconds: float) -> None:
        """Count an answered request; `route` is the rule that matched."""
        self._requests.labels(method, route, str(status)).observe(seconds)

    def count_money(self, movements: Iterable[Movement]) -> None:
        """Count what was committed."""
        for movement in movements:
            self._transfers.labels(movement.kind).inc(movement.transfers)
            self._transferred.labels(movement.kind).inc(movement.amount)

    @contextmanager
    def connection(self, engine: Engine) -> Iterator[Connection]:
        """Give a connection of an engine's pool, and show meanwhile that it is waited for, then that it is in use."""
        self._pool_waiting.inc()
        try:
            connection = engine.connect()
        finally:
            self._pool_waiting.dec()
        self._pool_in_use.inc()
        try:
            with connection:
                yield connection
        finally:
            self._pool_in_use.dec()
