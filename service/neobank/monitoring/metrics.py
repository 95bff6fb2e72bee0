"""What a serving process counts and measures; a worker of gunicorn keeps it in a folder that all workers share.

Amounts are in hundredths, times in seconds. Money is counted once it is committed, and at most once: what the database
has committed is the truth, and a process that is killed between the commit and the count leaves these behind it.
"""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Final

from prometheus_client import Counter, Gauge, Histogram
from sqlalchemy import Connection, Engine

from neobank.ledger.movements import Movement
from neobank.ledger.operations import Kind

REQUESTS: Final = Histogram(
    "neobank_http_request_duration_seconds",
    "Requests, by how long they took.",
    ["method", "route", "status"],
    buckets=(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10),
)
FAILED_LOGINS: Final = Counter("neobank_failed_logins_total", "Log-ins with a name or a password that is wrong.")
TRANSFERS: Final = Counter("neobank_transfers_total", "Transfers that were committed.", ["kind"])
TRANSFERRED: Final = Counter(
    "neobank_transferred_hundredths_total", "Hundredths that committed transfers moved.", ["kind"]
)
POOL_SIZE: Final = Gauge(
    "neobank_database_pool_size", "Connections that the pools may hold.", multiprocess_mode="livesum"
)
POOL_IN_USE: Final = Gauge(
    "neobank_database_pool_in_use", "Connections that requests are using.", multiprocess_mode="livesum"
)
POOL_WAITING: Final = Gauge(
    "neobank_database_pool_waiting", "Requests that wait for a connection.", multiprocess_mode="livesum"
)

for _kind in Kind:  # from 0 on, so that a first transfer is an increase
    TRANSFERS.labels(_kind)
    TRANSFERRED.labels(_kind)


def count(movements: Iterable[Movement]) -> None:
    """Count what was committed."""
    for movement in movements:
        TRANSFERS.labels(movement.kind).inc(movement.transfers)
        TRANSFERRED.labels(movement.kind).inc(movement.amount)


@contextmanager
def measured_connection(engine: Engine) -> Iterator[Connection]:
    """Give a connection of an engine's pool, and show meanwhile that it is waited for, then that it is in use."""
    with POOL_WAITING.track_inprogress():
        connection = engine.connect()
    with POOL_IN_USE.track_inprogress(), connection:
        yield connection
