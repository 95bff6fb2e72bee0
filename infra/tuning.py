"""PostgreSQL's settings, computed from the memory of its pod and the size of its volume: pure functions."""

import re
from collections.abc import Mapping

from values import mebibytes

OTHER_CONNECTIONS = 16
"""Connections that are not the application's: Jobs, `neobank figures`, a backup, psql, and the superuser's reserve."""

MOST_CONNECTIONS = 500
"""With more connections the overhead of each one dominates; PgBouncer lets many connections of the bank share few."""

SHARED_MEMORY = "256Mi"
"""Size of /dev/shm, for parallel queries; it counts towards the pod's memory limit."""

MEBIBYTES_A_CONNECTION = 6
"""Memory for one connection: its own (3 MiB were measured), its sorts (1.5), its part of shared_buffers (1.5).

From 3000 MiB on, MOST_CONNECTIONS limits the number of connections, and each has more.
"""

_BLOCKS = {None: 1, "kB": 1 / 8, "MB": 128, "GB": 128 * 1024, "TB": 128 * 1024 * 1024}
"""Blocks of 8 KiB per unit; a size without a unit is a number of blocks."""

_RESERVED = re.compile(
    r"(include\w*|data_directory|\w+_file|listen_addresses|port|unix_socket_\w+|ssl\w*|password_encryption"
    r"|\w+_preload_libraries|max_connections|max_replication_slots|max_active_replication_origins"
    r"|fsync|full_page_writes|synchronous_commit|session_replication_role)"
)
"""Settings that a stack file must not contain: the program or start.sh sets them, or another value risks data."""


def is_reserved(name: str) -> bool:
    """Whether a stack file must not contain this setting."""
    return bool(_RESERVED.fullmatch(name))


def fits(cache: str, memory: str) -> bool:
    """Whether a pod's memory holds /dev/shm and shared_buffers; `cache` is the value of shared_buffers.

    A size in another notation (a fraction, or bytes) is not checked.
    """
    size = re.fullmatch(r"([0-9]+) ?(kB|MB|GB|TB)?", cache)
    blocks = int(size[1]) * _BLOCKS[size[2]] if size else 0
    return blocks <= (mebibytes(memory) - mebibytes(SHARED_MEMORY)) * _BLOCKS["MB"]


def max_connections(memory: str) -> int:
    """Return max_connections, from the memory alone: a new number of pods would otherwise restart PostgreSQL."""
    return min(MOST_CONNECTIONS, mebibytes(memory) // MEBIBYTES_A_CONNECTION)


def by_size(memory: str, storage: str) -> dict[str, str]:
    """Return the settings for a pod with this memory and a volume of this size.

    shared_buffers is a quarter of the memory. work_mem is another quarter divided by max_connections, so that one sort
    of each connection fits. The other half is for the connections' own memory, /dev/shm and the page cache, which
    counts towards the limit but is reclaimable. Below 3000 MiB, `max_connections` connections need that half for their
    own memory.
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
        "min_wal_size": f"{wal}MB",  # WAL files are only recycled, so that a full disk stops only writes
    }


def as_file(settings: Mapping[str, str]) -> str:
    """Return the settings as the text of a configuration file."""
    return "".join(f"{name} = '{value}'\n" for name, value in settings.items())


def _between(least: int, wanted: int, most: int) -> int:
    return max(least, min(wanted, most))
