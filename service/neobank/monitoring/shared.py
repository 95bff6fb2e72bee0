"""The folder in which the workers of one gunicorn keep their metrics, so that another process can serve them.

Each worker writes its own files, named by its slot: the smallest number that no living worker has. A worker that
replaces a dead one gets its slot and continues its counters. So counters never decrease, and there are files for no
more workers than were alive at once, however many die.
"""

import os
from collections.abc import Iterable
from itertools import count
from pathlib import Path

from prometheus_client import CollectorRegistry, values
from prometheus_client.multiprocess import MultiProcessCollector, mark_process_dead


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
    values.ValueClass = values.MultiProcessValue(lambda: slot)  # type: ignore[no-untyped-call]


def delete_gauges(folder: Path, slot: int) -> None:
    """Delete the metrics that only a living worker has, such as its connections in use."""
    mark_process_dead(slot, str(folder))  # type: ignore[no-untyped-call]


def registry(folder: Path) -> CollectorRegistry:
    """Return the metrics of all workers, summed at each read. Raise ValueError if the folder does not exist."""
    summed = CollectorRegistry()
    MultiProcessCollector(summed, str(folder))  # type: ignore[no-untyped-call]
    return summed
