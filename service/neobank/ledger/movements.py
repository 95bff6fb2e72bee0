"""What a connection moves: noted by the ledger, for whoever opened the connection to read once it is committed."""

from dataclasses import dataclass

from sqlalchemy import Connection

_KEY = "neobank.movements"


@dataclass(frozen=True, slots=True)
class Movement:
    """Transfers of one kind, and what they moved together, in hundredths."""

    kind: str
    transfers: int
    amount: int


def begin(connection: Connection) -> list[Movement]:
    """Note from now on what this connection moves, in the list that this gives."""
    movements: list[Movement] = []
    connection.info[_KEY] = movements
    return movements


def note(connection: Connection, movement: Movement) -> None:
    """Note what was moved, if anybody began to; the transaction may still be rolled back."""
    movements: list[Movement] | None = connection.info.get(_KEY)
    if movements is not None:
        movements.append(movement)
