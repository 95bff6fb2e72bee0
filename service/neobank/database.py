"""The way to PostgreSQL: one pool a process, and one declarative base for every model."""

import re
from collections.abc import Iterator
from contextlib import contextmanager

from psycopg2 import extensions
from sqlalchemy import URL, Connection, Engine, MetaData, create_engine, event
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import DeclarativeBase

POOL_WAIT = 5  # seconds a request waits for a free connection before it answers "try again"


class Base(DeclarativeBase):
    """What every table of the bank is declared on."""

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
    """Make an engine whose pool holds at most `connections`; it connects when first used, and again after an outage.

    With `single_statements` each statement is its own transaction, with no BEGIN or COMMIT to send; `transaction`
    begins one that has several.
    """
    engine = create_engine(
        url.set(drivername="postgresql+psycopg2"),
        pool_size=connections,
        max_overflow=0,
        hide_parameters=True,  # they hold hashes of passwords and tokens, and an error's text may reach a log
        pool_timeout=POOL_WAIT,
        connect_args={"connect_timeout": 5, "application_name": "neobank", "keepalives_idle": 30},
    )
    if single_statements:
        event.listen(engine, "connect", _commit_each_statement)
    return engine


@contextmanager
def transaction(connection: Connection) -> Iterator[None]:
    """Make one transaction of the block, on a connection of single statements: it commits at the end, or not at all."""
    driver = _driver(connection.connection.driver_connection)
    # The driver's own switch: for SQLAlchemy's, an isolation level, psycopg2 sends a SET each time, and an event for
    # when one begins would cost every statement the search for listeners.
    driver.autocommit = False
    try:
        with connection.begin():
            yield
    finally:
        if not driver.closed:
            driver.autocommit = True


def _commit_each_statement(dbapi_connection: object, _record: object) -> None:
    _driver(dbapi_connection).autocommit = True


def _driver(connection: object) -> extensions.connection:
    assert isinstance(connection, extensions.connection)  # noqa: S101  # there is one driver
    return connection


def reason(error: SQLAlchemyError) -> str:
    """Say in one line what the database or its driver said; a URL in it, which may hold a password, is left out."""
    lines = str(getattr(error, "orig", None) or error).strip().splitlines()
    return re.sub(r"\S*://\S*", "(a URL)", lines[0]) if lines else type(error).__name__
