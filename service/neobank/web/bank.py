"""What one serving process holds: its settings, its way to the database, the schema it was written for."""

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
    """The state of a serving process; its engine is one of single statements, which most requests are made of."""

    settings: ServingSettings
    engine: Engine
    schema_revision: str
    metrics: Metrics = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "metrics", Metrics(self.settings.threads))

    @contextmanager
    def transaction(self) -> Iterator[Connection]:
        """Begin a transaction that commits at the end of the block, or not at all."""
        with self.metrics.connection(self.engine) as connection:
            moved = movements.begin(connection)
            with transaction(connection):
                yield connection
        self.metrics.count_money(moved)

    @contextmanager
    def statement(self) -> Iterator[Connection]:
        """Give a connection whose every statement is a transaction of its own."""
        with self.metrics.connection(self.engine) as connection:
            moved = movements.begin(connection)
            try:
                yield connection
            finally:  # whatever came after it, a statement that succeeded is committed
                self.metrics.count_money(moved)

    def retry_once(self, operation: Callable[[Connection], Result]) -> Result:
        """Run the first operation of a request, and run it again on a fresh connection if the pool's one is dead.

        After a restart of the database every connection of the pool is dead, and the first statement detects it. Use
        this only for what may run twice without harm: reading, and counting requests; never for money.
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
    """Give an application its bank."""
    app.extensions[_EXTENSION] = bank


def current_bank() -> Bank:
    """Give the bank of the application that handles this request."""
    bank: Bank = current_app.extensions[_EXTENSION]
    return bank
