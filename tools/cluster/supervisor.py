"""The first process of the node. It runs in the node's process, mount and network namespaces.

It mounts the private folders that the programs expect, starts the programs, and restarts each one that ends, until it
is killed. The kernel then kills everything in its process namespace, including pods, and removes the mounts with the
mount namespace: however the node dies, none of its processes survives. It uses only the standard library.

    python -m tools.cluster.supervisor STATE_FOLDER
"""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

from tools.cluster.components import PROVISIONED_VOLUMES

COMMANDS = "commands.json"
RESTART_DELAY = 1.0
# The kubelet would set these for the whole machine. Instead, it sees private files with the values it wants.
TUNABLES = {
    "vm/overcommit_memory": "1",
    "vm/panic_on_oom": "0",
    "kernel/panic": "10",
    "kernel/panic_on_oops": "1",
    "kernel/keys/root_maxkeys": "1000000",
    "kernel/keys/root_maxbytes": "25000000",
}


def main() -> None:
    """Prepare the namespaces and supervise the programs until killed."""
    state = Path(sys.argv[1])
    _mount_private_folders(state)
    _shield_tunables(Path("/run/tunables"))
    _supervise(json.loads((state / COMMANDS).read_text()), state / "logs")


def _mount_private_folders(state: Path) -> None:
    _mount("--make-rshared", "/")
    _mount("-t", "tmpfs", "tmpfs", "/run")
    for source, target in ((state / "logs", "/var/log"), (state / "volumes", PROVISIONED_VOLUMES)):
        source.mkdir(exist_ok=True)
        Path(target).mkdir(exist_ok=True)
        _mount("--bind", str(source), target)


def _shield_tunables(folder: Path) -> None:
    for name, value in TUNABLES.items():
        shield = folder / name
        shield.parent.mkdir(parents=True, exist_ok=True)
        shield.write_text(value)
        _mount("--bind", str(shield), f"/proc/sys/{name}")


def _supervise(commands: dict[str, list[str]], logs: Path) -> None:
    due = dict.fromkeys(commands, time.monotonic())
    running: dict[int, str] = {}
    while True:
        for name in [name for name, moment in due.items() if moment <= time.monotonic()]:
            running[_start(commands[name], logs / f"{name}.log")] = name
            del due[name]
        ended = _reap()
        if ended is None:
            time.sleep(0.2)
        elif ended in running:
            due[running.pop(ended)] = time.monotonic() + RESTART_DELAY


def _start(command: list[str], log: Path) -> int:
    output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    nothing = os.open(os.devnull, os.O_RDONLY)
    descriptors = [
        (os.POSIX_SPAWN_DUP2, nothing, 0),
        (os.POSIX_SPAWN_DUP2, output, 1),
        (os.POSIX_SPAWN_DUP2, output, 2),
    ]
    try:
        return os.posix_spawnp(command[0], command, os.environ, file_actions=descriptors)
    finally:
        os.close(output)
        os.close(nothing)


def _reap() -> int | None:
    """Return the id of a child that has ended, or None. Orphans of the whole namespace become children, too."""
    try:
        pid, _ = os.waitpid(-1, os.WNOHANG)
    except ChildProcessError:
        return None
    return pid or None


def _mount(*arguments: str) -> None:
    subprocess.run(["mount", *arguments], check=True)


if __name__ == "__main__":
    main()
