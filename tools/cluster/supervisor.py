"""The first process of the node: runs in the node's own process, mount and network namespaces.

It makes the private folders that the programs expect, starts the programs, and starts again any that ends, until it is
killed. The kernel then ends everything in its process namespace, pods included, and the mounts go with the mount
namespace: whatever way the node dies, nothing of it runs on. It uses the standard library alone.

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
# What the kubelet would set on the whole machine; it is shown its wishes as fulfilled instead.
TUNABLES = {
    "vm/overcommit_memory": "1",
    "vm/panic_on_oom": "0",
    "kernel/panic": "10",
    "kernel/panic_on_oops": "1",
    "kernel/keys/root_maxkeys": "1000000",
    "kernel/keys/root_maxbytes": "25000000",
}


def main() -> None:
    """Prepares the namespaces and supervises the programs for ever."""
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
    """The id of a child that has ended, if one has. Orphans of the whole namespace arrive here, not only programs."""
    try:
        pid, _ = os.waitpid(-1, os.WNOHANG)
    except ChildProcessError:
        return None
    return pid or None


def _mount(*arguments: str) -> None:
    subprocess.run(["mount", *arguments], check=True)


if __name__ == "__main__":
    main()
