"""The folder in which the workers of one gunicorn keep their metrics, so that another process can serve them.

Each worker writes files of its own, named by a place: the smallest number that no living worker has. A worker that
replaces a dead one takes its place and goes on counting from there. So counters never fall, and however often workers
die, there are no more files than there were workers at once.
"""

import os
from collections.abc import Iterable
from itertools import count
from pathlib import Path

from prometheus_client import CollectorRegistry, values
from prometheus_client.multiprocess import MultiProcessCollector, mark_process_dead


def empty(folder: Path) -> None:
    """Make the folder, or forget what an earlier gunicorn left in it. Raises OSError."""
    folder.mkdir(parents=True, exist_ok=True)
    for file in folder.glob("*.db"):
        file.unlink()


def free_place(taken: Iterable[int]) -> int:
    """Give the smallest place that is not taken."""
    others = set(taken)
    return next(place for place in count(1) if place not in others)


def write(folder: Path, place: int) -> None:
    """Keep this process's metrics in the folder; before the first of them is made."""
    os.environ["PROMETHEUS_MULTIPROC_DIR"] = str(folder)
    values.ValueClass = values.MultiProcessValue(lambda: place)  # type: ignore[no-untyped-call]


def leave(folder: Path, place: int) -> None:
    """Forget what only a living worker has: the connections in use and the like."""
    mark_process_dead(place, str(folder))  # type: ignore[no-untyped-call]


def registry(folder: Path) -> CollectorRegistry:
    """Give the metrics of all workers, added up anew whenever they are read. Raises ValueError for no folder."""
    found = CollectorRegistry()
    MultiProcessCollector(found, str(folder))  # type: ignore[no-untyped-call]
    return found
