"""Pure functions that compute PostgreSQL's settings from the memory of its pod and the size of its volume."""

import re
from collections.abc import Mapping

from values import mebibytes

OTHER_CONNECTIONS = 16
"""Connections of Jobs, the figures, a backup and psql sessions, and those reserved for the superuser."""

MOST_CONNECTIONS = 500
"""With more connections the overhead of each one dominates; PgBouncer lets many threads share few."""

SHARED_MEMORY = "256Mi"
"""Size of /dev/shm, for parallel queries; it counts towards the pod's memory limit."""

MEBIBYTES_A_CONNECTION = 6
"""Memory of one connection: its own (3 MiB were measured), its sorts, and its share of shared_buffers."""

_BLOCKS = {None: 1, "kB": 1 / 8, "MB": 128, "GB": 128 * 1024, "TB": 128 * 1024 * 1024}
"""Blocks of 8 KiB per unit; a size without a unit is a number of blocks."""

_RESERVED = re.compile(
    r"(include\w*|data_directory|\w+_file|listen_addresses|port|unix_socket_\w+|ssl\w*|password_encryption"
    r"|\w+_preload_libraries|max_connections|fsync|full_page_writes|synchronous_commit|session_replication_role)"
)
"""Settings that the program owns. Those on start.sh's command line would override the file anyway."""


def is_reserved(name: str) -> bool:
    """Whether the program owns a setting, so that a stack file must not set it."""
    return bool(_RESERVED.fullmatch(name))


def fits(cache: str, memory: str) -> bool:
    """Whether a pod's memory is enough for shared_buffers, in the notation of postgresql.conf, and for /dev/shm."""
    size = re.fullmatch(r"([0-9]+) ?(kB|MB|GB|TB)?", cache)
    blocks = int(size[1]) * _BLOCKS[size[2]] if size else 0  # the server itself refuses an invalid size
    return blocks <= (mebibytes(memory) - mebibytes(SHARED_MEMORY)) * _BLOCKS["MB"]


def max_connections(memory: str) -> int:
    """Return max_connections. It depends only on memory, because a change restarts the server."""
    return min(MOST_CONNECTIONS, mebibytes(memory) // MEBIBYTES_A_CONNECTION)


def by_size(memory: str, storage: str) -> dict[str, str]:
    """Return the settings for a pod with this memory and a volume of this size.

    A quarter of the memory is shared_buffers; another quarter is work_mem, if all connections sort at the same time.
    The rest is for the connections' other memory, /dev/shm and the page cache, which counts towards the limit but is
    reclaimable.
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
    """Return the settings as the text of a configuration file."""
    return "".join(f"{name} = '{value}'\n" for name, value in settings.items())


def _between(least: int, wanted: int, most: int) -> int:
    return max(least, min(wanted, most))
