"""The folder in which the workers of one gunicorn keep their metrics, so that another process can serve them.

Each worker writes its own files, named by its slot: the smallest number that no living worker has. A worker that
replaces a dead one gets its slot and continues its counters. So counters never decrease, and there are files for no
more workers than were alive at once, however many die.

A full disk never disturbs a request. What the files have no space for stays in the worker's memory, and each change of
a value tries to write it again.
"""

import os
from collections.abc import Iterable
from contextlib import suppress
from itertools import count
from pathlib import Path

from prometheus_client import CollectorRegistry, values
from prometheus_client.mmap_dict import MmapedDict
from prometheus_client.multiprocess import MultiProcessCollector, mark_process_dead

INITIAL_SIZE = 1 << 16  # bytes


class AllocatedFile(MmapedDict):
    """A file of metrics, with disk space allocated before a page of it is mapped.

    prometheus-client only sets the size of a file. On a full disk the first write to a mapped page without disk space
    ends the process with SIGBUS.
    """

    def __init__(self, file: str) -> None:
        self._file = Path(file)
        self._is_open = False
        self._positions: dict[str, int] = {}
        with suppress(OSError):
            self._open()

    def read_value(self, key: str) -> tuple[float, float]:
        """Return a value and its time; both are 0 if the file does not contain them and has no space for them."""
        try:
            value, time = super().read_value(key)  # type: ignore[no-untyped-call]
        except OSError:
            return 0.0, 0.0
        return value, time

    def write_value(self, key: str, value: float, timestamp: float) -> None:
        """Write a value, if there is space for it."""
        with suppress(OSError):
            super().write_value(key, value, timestamp)  # type: ignore[no-untyped-call]

    def _init_value(self, key: str) -> None:
        if not self._is_open:
            self._open()
        if key in self._positions:
            return
        longest = len(key.encode()) + 32  # with its length, the padding, the value and the time
        if self._used + longest > self._capacity:
            _allocate(self._file, 2 * self._capacity)
        super()._init_value(key)  # type: ignore[no-untyped-call]

    def _open(self) -> None:
        if not self._file.exists():
            part = self._file.with_suffix(".part")  # a reader must not find an empty file
            _allocate(part, INITIAL_SIZE)
            part.replace(self._file)
        super().__init__(str(self._file))  # type: ignore[no-untyped-call]
        self._is_open = True


def _allocate(file: Path, size: int) -> None:
    """Extend a file to this size, with disk space for all of it. Raise OSError, and change nothing, if that fails."""
    with file.open("ab") as opened:
        before = opened.tell()
        try:
            os.posix_fallocate(opened.fileno(), 0, size)
        except OSError:
            opened.truncate(before)
            raise


def empty(folder: Path) -> None:
    """Create the folder, or delete the files of an earlier gunicorn in it. Raise OSError if that fails."""
    folder.mkdir(parents=True, exist_ok=True)
    for file in folder.glob("*.db"):
        file.unlink()


def free_slot(taken: Iterable[int]) -> int:
    """Return the smallest slot that is not taken."""
    others = set(taken)
    return next(slot for slot in count(1) if slot not in others)


def keep_in(folder: Path, slot: int) -> None:
    """Keep this process's metrics in the folder. Call this before the first metric is created."""
    os.environ["PROMETHEUS_MULTIPROC_DIR"] = str(folder)
    vars(values)["MmapedDict"] = AllocatedFile
    values.ValueClass = values.MultiProcessValue(lambda: slot)  # type: ignore[no-untyped-call]


def delete_gauges(folder: Path, slot: int) -> None:
    """Delete the metrics that only a living worker has, such as its connections in use."""
    mark_process_dead(slot, str(folder))  # type: ignore[no-untyped-call]


def registry(folder: Path) -> CollectorRegistry:
    """Return the metrics of all workers, summed at each read. Raise ValueError if the folder does not exist."""
    summed = CollectorRegistry()
    MultiProcessCollector(summed, str(folder))  # type: ignore[no-untyped-call]
    return summed
