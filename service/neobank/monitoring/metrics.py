"""The metrics of a serving process; gunicorn's workers keep them in a folder that they share.

Amounts are in hundredths of ¤, times in seconds. A transfer is counted after COMMIT and at most once. The database is
the source of truth: if a process is killed between COMMIT and the count, its transfers are missing in the counters.
"""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from sqlalchemy import Connection, Engine

from neobank.ledger.movements import Movement
from neobank.ledger.operations import Kind

BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)


class Metrics:
    """The metrics of one application. Create them in the worker, because only there their folder and slot are known."""

    def __init__(self, connections: int) -> None:
        self.registry = CollectorRegistry()
        self._requests = Histogram(
            "neobank_http_request_duration_seconds",
            "Duration of requests, in seconds.",
            ["method", "route", "status"],
            registry=self.registry,
            buckets=BUCKETS,
        )
        self.failed_logins = Counter(
            "neobank_failed_logins", "Log-ins with a wrong name or password.", registry=self.registry
        )
        self._transfers = Counter("neobank_transfers", "Committed transfers.", ["kind"], registry=self.registry)
        self._transferred = Counter(
            "neobank_transferred_hundredths",
            "Amount that committed transfers moved, in hundredths.",
            ["kind"],
            registry=self.registry,
        )
        for kind in Kind:  # start at 0, so that the first transfer is an increase
            self._transfers.labels(kind)
            self._transferred.labels(kind)
        self._pool_in_use = self._pool_gauge("in_use", "Connections in use.")
        self._pool_waiting = self._pool_gauge("waiting", "Requests that wait for a connection.")
        self._pool_gauge("size", "Connections that the pools may hold.").set(connections)

    def _pool_gauge(self, name: str, help_text: str) -> Gauge:  # summed over the living workers
        return Gauge(f"neobank_database_pool_{name}", help_text, multiprocess_mode="livesum", registry=self.registry)

    def count_request(self, method: str, route: str, status: int, seconds: float) -> None:
        """Count an answered request; `route` is the URL rule that matched."""
        self._requests.labels(method, route, str(status)).observe(seconds)

    def count_money(self, movements: Iterable[Movement]) -> None:
        """Count committed transfers."""
        for movement in movements:
            self._transfers.labels(movement.kind).inc(movement.transfers)
            self._transferred.labels(movement.kind).inc(movement.amount)

    @contextmanager
    def connection(self, engine: Engine) -> Iterator[Connection]:
        """Yield a connection of an engine's pool; count the request as waiting, then the connection as in use."""
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
