"""Connections to PostgreSQL: one pool per process, and the declarative base of all models."""

import re
import select
from collections.abc import Iterator
from contextlib import contextmanager

from psycopg2 import OperationalError, extensions
from psycopg2.errors import DiskFull
from sqlalchemy import URL, Connection, Engine, MetaData, create_engine, event
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import DeclarativeBase

POOL_WAIT = 5  # seconds that a request waits for a free connection before it ends with "try again"
CONNECT_WAIT = 5  # seconds for each part of a new connection
ANSWER_WAIT = 12  # seconds; the server itself ends a statement of the application after 10


class Base(DeclarativeBase):
    """The declarative base of all tables, with the naming convention of their constraints and indexes."""

    metadata = MetaData(
        naming_convention={
            "ix": "%(table_name)s_%(column_0_N_name)s_idx",
            "uq": "%(table_name)s_%(column_0_N_name)s_key",
            "ck": "%(constraint_name)s",
            "fk": "%(table_name)s_%(column_0_N_name)s_fkey",
            "pk": "%(table_name)s_pkey",
        }
    )


def connect(url: URL, *, connections: int = 1, single_statements: bool = False) -> Engine:
    """Return an engine with a pool of at most `connections`. It connects at the first use, and again after an outage.

    With `single_statements` the connections are in autocommit mode: each statement is its own transaction, without
    BEGIN and COMMIT. Use `transaction` to combine several statements.
    """
    engine = create_engine(
        url.set(drivername="postgresql+psycopg2"),
        pool_size=connections,
        max_overflow=0,
        hide_parameters=True,  # parameters contain hashes of passwords and tokens; an error message may be logged
        pool_timeout=POOL_WAIT,
        connect_args={"connect_timeout": CONNECT_WAIT, "application_name": "neobank", "keepalives_idle": 30},
    )
    if single_statements:
        event.listen(engine, "connect", _commit_each_statement)
    return engine


@contextmanager
def transaction(connection: Connection) -> Iterator[None]:
    """Run the block in one transaction, on an autocommit connection; roll it back if the block raises."""
    driver = _driver(connection.connection.driver_connection)
    # Sets the driver's own attribute. For SQLAlchemy's isolation level AUTOCOMMIT, psycopg2 sends a SET each time; an
    # event listener for the begin of a transaction would cost every statement the look-up of listeners.
    driver.autocommit = False
    try:
        with connection.begin():
            yield
    finally:
        if not driver.closed:
            driver.autocommit = True


def wait_for_answer(connection: extensions.connection) -> None:
    """Wait until the server has answered; a serving process uses this for each wait of psycopg2.

    Raise OperationalError if nothing arrives in ANSWER_WAIT seconds, or CONNECT_WAIT for a new connection, because a
    server that is stopped or unreachable does not end the statement itself. psycopg2 then closes the connection. With a
    callback, libpq's own connect_timeout has no effect.
    """
    patience = CONNECT_WAIT if connection.status == extensions.STATUS_SETUP else ANSWER_WAIT
    while (state := connection.poll()) != extensions.POLL_OK:
        socket = select.poll()
        socket.register(connection.fileno(), select.POLLIN if state == extensions.POLL_READ else select.POLLOUT)
        if not socket.poll(patience * 1000):
            raise OperationalError(f"the database server did not answer within {patience} seconds")


def _commit_each_statement(dbapi_connection: object, _record: object) -> None:
    _driver(dbapi_connection).autocommit = True


def _driver(connection: object) -> extensions.connection:
    assert isinstance(connection, extensions.connection)  # noqa: S101  # psycopg2 is the only driver
    return connection


def disk_is_full(error: SQLAlchemyError) -> bool:
    """Return whether the error is PostgreSQL's report that it has no disk space left, also for a new connection."""
    original = getattr(error, "orig", None)  # a failed connection has no SQLSTATE
    return isinstance(original, DiskFull) or "No space left on device" in str(original)


def reason(error: SQLAlchemyError) -> str:
    """Return the first line of the error of the database or driver, without URLs, which may contain a password."""
    lines = str(getattr(error, "orig", None) or error).strip().splitlines()
    return re.sub(r"\S*://\S*", "(a URL)", lines[0]) if lines else type(error).__name__
