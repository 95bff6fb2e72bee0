"""A record of the transfers that a connection posts, which the caller reads after the commit to count them."""

from dataclasses import dataclass

from sqlalchemy import Connection

_KEY = "neobank.movements"


@dataclass(frozen=True, slots=True)
class Movement:
    """A number of transfers of one kind, and the sum of their amounts in hundredths."""

    kind: str
    transfers: int
    amount: int


def begin(connection: Connection) -> list[Movement]:
    """Start a record for this connection. The returned list receives each later movement."""
    movements: list[Movement] = []
    connection.info[_KEY] = movements
    return movements


def note(connection: Connection, movement: Movement) -> None:
    """Append a movement if the connection has a record. The transaction may still be rolled back."""
    movements: list[Movement] | None = connection.info.get(_KEY)
    if movements is not None:
        movements.append(movement)
