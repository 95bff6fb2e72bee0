"""Processes that outlive the command that started them, remembered so that only they are ever ended.

A process is remembered by its id, its start time and the machine's boot: an id that meanwhile belongs to another
process does not match and is left alone.
"""

import json
import os
import signal
import time
from dataclasses import asdict, dataclass
from pathlib import Path

from tools.errors import UserError

DEATH_TIMEOUT = 30.0


@dataclass(frozen=True)
class Process:
    """One process, past mistaking: `started` is in clock ticks since the boot named by `boot`."""

    pid: int
    started: int
    boot: str

    @property
    def alive(self) -> bool:
        """Whether this very process still runs (a zombie does not)."""
        return _started(self.pid) == self.started and _boot() == self.boot

    def kill(self) -> None:
        """Ends the process with SIGKILL and returns when it is gone; does nothing when it already is.

        Raises UserError when it is still there after DEATH_TIMEOUT seconds.
        """
        if self.alive:
            os.kill(self.pid, signal.SIGKILL)
        deadline = time.monotonic() + DEATH_TIMEOUT
        while self.alive:
            if time.monotonic() > deadline:
                raise UserError(f"process {self.pid} of the cluster does not end; look at what it waits for")
            time.sleep(0.02)

    def save(self, path: Path) -> None:
        """Writes the record that `recorded` reads."""
        path.write_text(json.dumps(asdict(self)))


def identify(pid: int) -> Process | None:
    """The process that has this id now, if any."""
    started = _started(pid)
    return None if started is None else Process(pid=pid, started=started, boot=_boot())


def recorded(path: Path) -> Process | None:
    """The process that `save` wrote down, alive or not; None where nothing readable was written."""
    try:
        return Process(**json.loads(path.read_text()))
    except (FileNotFoundError, ValueError, TypeError):
        return None


def only_child(pid: int) -> int | None:
    """The id of the process's one child, if it has one by now."""
    try:
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    except (FileNotFoundError, ProcessLookupError):
        return None
    return int(children[0]) if children else None


def _started(pid: int) -> int | None:
    try:
        # The name in the second field may hold spaces and brackets: the fields proper begin after the last bracket.
        state, *fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None
    return None if state in {"Z", "X"} else int(fields[18])


def _boot() -> str:
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
