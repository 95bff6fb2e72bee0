"""Observe the SQL statements that SQLAlchemy sends."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from sqlalchemy import Connection, Engine, event


@dataclass(frozen=True)
class Statement:
    """A statement that is about to be sent, its values, and the connection that sends it."""

    text: str
    values: dict[str, object]
    connection: Connection


@contextmanager
def listening(source: Engine | Connection, name: str, listener: Callable[..., None]) -> Iterator[None]:
    """Call a listener for an event of SQLAlchemy until the end of the block."""
    event.listen(source, name, listener)
    try:
        yield
    finally:
        event.remove(source, name, listener)


@contextmanager
def before_each(source: Engine | Connection, action: Callable[[Statement], None]) -> Iterator[None]:
    """Call `action` before each statement until the end of the block."""

    def listener(connection: Connection, _cursor: object, text: str, values: dict[str, object], *_: object) -> None:
        action(Statement(text, values, connection))

    with listening(source, "before_cursor_execute", listener):
        yield


@contextmanager
def recorded(source: Engine | Connection) -> Iterator[list[Statement]]:
    """Collect the statements that are sent until the end of the block."""
    sent: list[Statement] = []
    with before_each(source, sent.append):
        yield sent
