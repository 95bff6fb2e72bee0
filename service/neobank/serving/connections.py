"""The connections of gunicorn's workers: how many each has, and which one accepts the next."""

import socket
import time
from mmap import mmap
from typing import Final, Self

MAX_CONNECTIONS: Final = 900
"""Open connections of a worker; one more waits until another one ends. Files are limited to 1024 on many machines."""

PATIENCE: Final = 0.1
"""The time that a worker leaves a new connection to one with fewer, which may be stopped, in seconds."""

_SLOTS: Final = 512
_NO_WORKER: Final = -1


class ConnectionCounts:
    """The number of open connections of each worker by slot, in memory that the workers share.

    Create it before the workers are forked. Each worker writes only its own slot, so there is no lock.
    """

    def __init__(self) -> None:
        self._counts = memoryview(mmap(-1, _SLOTS * 8)).cast("q")
        for slot in range(_SLOTS):
            self._counts[slot] = _NO_WORKER

    def add(self, slot: int, connections: int) -> None:
        """Add to a worker's count, which starts at 0."""
        self._counts[slot] = max(self._counts[slot], 0) + connections

    def of(self, slot: int) -> int:
        """Return a worker's count."""
        return max(self._counts[slot], 0)

    def fewest(self) -> int:
        """Return the smallest count of any worker."""
        return min((count for count in self._counts if count != _NO_WORKER), default=0)

    def forget(self, slot: int) -> None:
        """Remove the count of a worker that ended."""
        self._counts[slot] = _NO_WORKER


COUNTS: Final = ConnectionCounts()


class BalancedListener(socket.socket):
    """A listening socket that leaves a new connection to the worker with the fewest.

    Without it one worker may get all of a few long-lived connections, and the others none.
    """

    slot: int
    _refused_since: float | None

    @classmethod
    def of(cls, listener: socket.socket, slot: int) -> Self:
        """Return a balanced copy of a listening socket for the worker in a slot."""
        balanced = cls(listener.family, listener.type, listener.proto, listener.dup().detach())
        balanced.slot, balanced._refused_since = slot, None
        COUNTS.add(slot, 0)
        return balanced

    def accept(self) -> tuple[socket.socket, object]:
        """Accept a connection and count it. Raise BlockingIOError if there is none, or none for this worker."""
        mine = COUNTS.of(self.slot)
        if mine >= MAX_CONNECTIONS or (mine > COUNTS.fewest() and self._is_patient()):
            raise BlockingIOError
        self._refused_since = None
        connection, address = super().accept()
        COUNTS.add(self.slot, 1)
        return connection, address

    def _is_patient(self) -> bool:
        now = time.monotonic()
        if self._refused_since is None:
            self._refused_since = now
        return now - self._refused_since < PATIENCE
