"""The state of one serving process: its settings, its connection pool, the schema revision that it needs."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TypeVar

from flask import Flask, current_app
from sqlalchemy import Connection, Engine
from sqlalchemy.exc import DBAPIError

from neobank.database import transaction
from neobank.ledger import movements
from neobank.monitoring.metrics import Metrics
from neobank.settings import ServingSettings

_EXTENSION = "neobank"

Result = TypeVar("Result")


@dataclass(frozen=True, slots=True)
class Bank:
    """The state of a serving process. Its engine commits each statement, because most requests need only one."""

    settings: ServingSettings
    engine: Engine
    schema_revision: str
    metrics: Metrics = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "metrics", Metrics(self.settings.connections))

    @contextmanager
    def transaction(self) -> Iterator[Connection]:
        """Yield a connection in one transaction: it commits at the end of the block, or rolls back on an exception."""
        with self.metrics.connection(self.engine) as connection:
            moved = movements.begin(connection)
            with transaction(connection):
                yield connection
        self.metrics.count_money(moved)

    @contextmanager
    def statement(self) -> Iterator[Connection]:
        """Yield a connection on which each statement is a transaction of its own."""
        with self.metrics.connection(self.engine) as connection:
            moved = movements.begin(connection)
            try:
                yield connection
            finally:  # a statement that succeeded is committed, even if the block raises later
                self.metrics.count_money(moved)

    def retry_once(self, operation: Callable[[Connection], Result]) -> Result:
        """Run an operation before the request moves money; if its pooled connection is dead, run it again on a new one.

        After a restart of the database every pooled connection is dead, and the first statement detects it. Use this
        only for operations that may run twice without harm: reading, noting when a session was last used, and counting
        requests; never for money.
        """
        try:
            with self.statement() as connection:
                return operation(connection)
        except DBAPIError as error:
            if not error.connection_invalidated:
                raise
        with self.statement() as connection:
            return operation(connection)


def bind(app: Flask, bank: Bank) -> None:
    """Attach a bank to an application."""
    app.extensions[_EXTENSION] = bank


def current_bank() -> Bank:
    """Return the bank of the application that handles this request."""
    bank: Bank = current_app.extensions[_EXTENSION]
    return bank
