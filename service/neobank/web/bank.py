"""What one serving process holds: its settings, its way to the database, the schema it was written for."""

from contextlib import AbstractContextManager
from dataclasses import dataclass, field

from flask import Flask, current_app
from sqlalchemy import Connection, Engine

from neobank.database import transactional
from neobank.settings import ServingSettings

_EXTENSION = "neobank"


@dataclass(frozen=True, slots=True)
class Bank:
    """The state of a serving process; its engine is one of single statements, which most requests are made of."""

    settings: ServingSettings
    engine: Engine
    schema_revision: str
    _transactional: Engine = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_transactional", transactional(self.engine))

    def transaction(self) -> AbstractContextManager[Connection]:
        """Begin a transaction that commits at the end of the block, or not at all."""
        return self._transactional.begin()

    def statement(self) -> AbstractContextManager[Connection]:
        """Give a connection whose every statement is a transaction of its own."""
        return self.engine.connect()


def bind(app: Flask, bank: Bank) -> None:
    """Give an application its bank."""
    app.extensions[_EXTENSION] = bank


def current_bank() -> Bank:
    """Give the bank of the application that handles this request."""
    bank: Bank = current_app.extensions[_EXTENSION]
    return bank
