"""How a serving process returns memory that it no longer uses to the operating system."""

import ctypes
from typing import Final

_M_MMAP_THRESHOLD: Final = -3
_M_ARENA_MAX: Final = -8

LARGE: Final = 1024 * 1024
"""Blocks from this size, in bytes, are returned as soon as they are freed. Hashing a password needs one of 19 MiB."""


def return_freed_memory() -> None:
    """Configure glibc's allocator; do nothing where there is another one.

    By default glibc keeps large blocks once one was freed, in an arena for each of many threads. The numbers are those
    of mallopt(3) in glibc's malloc.h.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_M_MMAP_THRESHOLD, LARGE)
        mallopt(_M_ARENA_MAX, 1)
