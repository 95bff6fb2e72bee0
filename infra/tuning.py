"""PostgreSQL's settings by the size of its pod: pure functions from memory and volume to what stands in its file."""

import re
from collections.abc import Mapping

from values import mebibytes

OTHER_CONNECTIONS = 16
"""Jobs, the figures, a backup, a prompt or two, and those that the server keeps for its superuser."""

MOST_CONNECTIONS = 500
"""More of them, and a server spends its time on telling them apart; PgBouncer lets many threads share few."""

SHARED_MEMORY = "256Mi"
"""For /dev/shm, where workers of a parallel query meet; it counts towards the pod's limit."""

MEBIBYTES_A_CONNECTION = 6
"""What one keeps for itself after a while (3 MiB were seen), its sorts, and its share of the server's cache."""

_BLOCKS = {None: 1, "kB": 1 / 8, "MB": 128, "GB": 128 * 1024, "TB": 128 * 1024 * 1024}
"""How many of the server's blocks a unit is; a size without one counts them."""

_OWN = re.compile(
    r"(include\w*|data_directory|\w+_file|listen_addresses|port|unix_socket_\w+|ssl\w*|password_encryption"
    r"|\w+_preload_libraries|max_connections|fsync|full_page_writes|synchronous_commit|session_replication_role)"
)
"""What start.sh says on the command line outranks the file anyway."""


def is_own(name: str) -> bool:
    """Whether a setting is the program's, and not for a stack file."""
    return bool(_OWN.fullmatch(name))


def fits(cache: str, memory: str) -> bool:
    """Whether there is room in a pod for a cache of that size, as postgresql.conf has sizes, and for /dev/shm."""
    found = re.fullmatch(r"([0-9]+) ?(kB|MB|GB|TB)?", cache)
    blocks = int(found[1]) * _BLOCKS[found[2]] if found else 0  # the server itself refuses what is no size
    return blocks <= (mebibytes(memory) - mebibytes(SHARED_MEMORY)) * _BLOCKS["MB"]


def max_connections(memory: str) -> int:
    """Say how many connections there are. They follow from memory alone: another number would restart the server."""
    return min(MOST_CONNECTIONS, mebibytes(memory) // MEBIBYTES_A_CONNECTION)


def by_size(memory: str, storage: str) -> dict[str, str]:
    """Give the settings for a pod of this memory on a volume of this size.

    A quarter is the server's own cache, and another for what its connections sort, should all do so at once. What they
    keep besides, /dev/shm and the page cache have the rest; the last counts towards the pod's limit, but is given back.
    """
    available, connections = mebibytes(memory), max_connections(memory)
    wal = _between(128, mebibytes(storage) // 8, 4096)
    return {
        "max_connections": str(connections),
        "shared_buffers": f"{available // 4}MB",
        "effective_cache_size": f"{available * 3 // 4}MB",
        "work_mem": f"{available * 1024 // 4 // connections}kB",
        "maintenance_work_mem": f"{_between(32, available // 16, 1024)}MB",
        "max_wal_size": f"{wal}MB",
        "min_wal_size": f"{max(80, wal // 4)}MB",
    }


def as_file(settings: Mapping[str, str]) -> str:
    """Write settings as postgresql.conf has them."""
    return "".join(f"{name} = '{value}'\n" for name, value in settings.items())


def _between(least: int, wanted: int, most: int) -> int:
    return max(least, min(wanted, most))
