"""Processes that outlive the command that started them, recorded so that no other process is ever killed.

The record contains id, start time and boot of the machine. If the id now belongs to another process, the record does
not match and that process is left alone.
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
    """A process, identified beyond its id: `started` is in clock ticks since the boot with the id `boot`."""

    pid: int
    started: int
    boot: str

    @property
    def alive(self) -> bool:
        """Whether this process still runs (a zombie does not)."""
        return _started(self.pid) == self.started and _boot() == self.boot

    def kill(self) -> None:
        """Kill the process with SIGKILL and wait until it is gone; do nothing if it already is.

        Raise UserError if it still exists after DEATH_TIMEOUT seconds.
        """
        if self.alive:
            os.kill(self.pid, signal.SIGKILL)
        deadline = time.monotonic() + DEATH_TIMEOUT
        while self.alive:
            if time.monotonic() > deadline:
                raise UserError(
                    f"process {self.pid} of the cluster does not end: /proc/{self.pid}/stack shows what it waits for."
                )
            time.sleep(0.02)

    def save(self, path: Path) -> None:
        """Write the record that `recorded` reads."""
        path.write_text(json.dumps(asdict(self)))


def identify(pid: int) -> Process | None:
    """Return the process that has this id now, or None."""
    started = _started(pid)
    return None if started is None else Process(pid=pid, started=started, boot=_boot())


def recorded(path: Path) -> Process | None:
    """Return the process that `save` recorded, running or not, or None without a valid record."""
    try:
        return Process(**json.loads(path.read_text()))
    except (FileNotFoundError, ValueError, TypeError):
        return None


def only_child(pid: int) -> int | None:
    """Return the id of the process's only child, or None if it has none yet."""
    try:
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    except (FileNotFoundError, ProcessLookupError):
        return None
    return int(children[0]) if children else None


def _started(pid: int) -> int | None:
    try:
        # The name in the second field may contain spaces and parentheses: the others follow the last parenthesis.
        state, *fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None
    return None if state in {"Z", "X"} else int(fields[18])


def _boot() -> str:
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
