"""The connections of gunicorn's workers: how many each has, and which one accepts the next."""

import asyncio
import logging
import socket
from collections.abc import Callable
from mmap import mmap
from typing import Final

logger = logging.getLogger(__name__)

MAX_CONNECTIONS: Final = 900
"""Open connections of a worker; one more waits until another one ends. Files are limited to 1024 on many machines."""

HOLD_BACK_SECONDS: Final = 0.01
"""The time that a worker leaves new connections to one with fewer, which may be busy or stopped."""

_PAUSE_SECONDS: Final = 0.002
"""The time between two attempts of a worker that holds back or is full, in which it does not watch its socket."""

_ERROR_PAUSE_SECONDS: Final = 1.0
"""The time between two attempts after an error, such as too many open files."""

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

    def start(self, slot: int) -> None:
        """Begin to count the connections of a worker, which is ready to accept them."""
        self._counts[slot] = 0

    def add(self, slot: int, connections: int) -> None:
        """Add to a worker's count, unless the worker is forgotten."""
        if self._counts[slot] != _NO_WORKER:
            self._counts[slot] += connections

    def of(self, slot: int) -> int:
        """Return the count of a worker that accepts connections."""
        return self._counts[slot]

    def fewest(self) -> int:
        """Return the smallest count of any worker that accepts connections."""
        return min((count for count in self._counts if count != _NO_WORKER), default=0)

    def forget(self, slot: int) -> None:
        """Remove the count of a worker that accepts no more connections, or ended."""
        self._counts[slot] = _NO_WORKER


COUNTS: Final = ConnectionCounts()


class Listener:
    """Accept connections for the worker in a slot, but leave a new one to the worker with the fewest.

    Without it one worker may get all of a few long-lived connections, and the others none. It does not call `listen`:
    asyncio's server would, and so shorten the queue that gunicorn's master gave the socket.
    """

    def __init__(self, listening: socket.socket, slot: int, protocol: Callable[[], asyncio.Protocol]) -> None:
        listening.settimeout(0)
        self._socket, self._slot, self._protocol = listening, slot, protocol
        self._loop = asyncio.get_running_loop()
        self._held_back_until: float | None = None
        self._pause: asyncio.TimerHandle | None = None
        self._connecting: set[asyncio.Task[object]] = set()
        COUNTS.start(slot)
        self._resume()

    def close(self) -> None:
        """Leave all new connections to the other workers."""
        COUNTS.forget(self._slot)
        if self._pause:
            self._pause.cancel()
        self._loop.remove_reader(self._socket)
        self._socket.close()

    def _resume(self) -> None:
        self._loop.add_reader(self._socket, self._accept)
        self._accept()

    def _stop_for(self, seconds: float) -> None:
        """Stop watching the socket for a time: the event loop would otherwise report waiting connections at once."""
        self._loop.remove_reader(self._socket)
        self._pause = self._loop.call_later(seconds, self._resume)

    def _accept(self) -> None:
        """Accept the connections that wait, as long as they are for this worker."""
        try:
            while self._may_accept():
                connection, _ = self._socket.accept()
                self._connect(connection)
            self._stop_for(_PAUSE_SECONDS)
        except (BlockingIOError, ConnectionAbortedError):  # none waits, or its client has left
            self._held_back_until = None
        except OSError as error:
            logger.warning("The worker cannot accept a connection: %s.", error.strerror)
            self._stop_for(_ERROR_PAUSE_SECONDS)

    def _may_accept(self) -> bool:
        """Return whether this worker is not full, and has the fewest connections or has held back long enough."""
        mine = COUNTS.of(self._slot)
        if mine >= MAX_CONNECTIONS:
            return False
        if mine == COUNTS.fewest():
            return True
        if self._held_back_until is None:
            self._held_back_until = self._loop.time() + HOLD_BACK_SECONDS
        return self._loop.time() >= self._held_back_until

    def _connect(self, connection: socket.socket) -> None:
        COUNTS.add(self._slot, 1)
        connecting = self._loop.create_task(self._loop.connect_accepted_socket(self._protocol, connection))
        self._connecting.add(connecting)  # the event loop does not keep it
        connecting.add_done_callback(self._connecting.discard)
