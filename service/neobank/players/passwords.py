"""Passwords: rejection of common ones, and hashing with Argon2id.

A process hashes one password at a time. At most half of its threads may hash or wait for it, so that payments keep the
other half. Beyond that, a request is rejected with 503 and may be sent again in a few seconds.
"""

import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.resources import files
from threading import Lock, Semaphore
from typing import Final

from argon2 import PasswordHasher, Type
from argon2.exceptions import InvalidHashError, VerifyMismatchError

from neobank.errors import Busy

MIN_LENGTH: Final = 8
MAX_LENGTH: Final = 1000

# OWASP's first choice for Argon2id (Password Storage Cheat Sheet): 19 MiB, two passes, one lane.
_HASHER = PasswordHasher(time_cost=2, memory_cost=19_456, parallelism=1, type=Type.ID)
# For one-time passwords of more than 60 random bits, which can't be guessed even with a fast hash: an import of many
# players would otherwise hash for minutes.
_QUICK_HASHER = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1, type=Type.ID)
_QUICK: Final = "$m=8,t=1,p=1$"
_ALPHABET: Final = "23456789ABCDEFGHJKMNPQRSTVWXYZabcdefghjkmnpqrstvwxyz"

_COMMON = frozenset(files("neobank.players").joinpath("common_passwords.txt").read_text(encoding="utf-8").split())

DUMMY_HASH: Final = _HASHER.hash("the password of an account that does not exist")
"""The hash that a log-in with an unknown name is checked against, so that it takes as long as one with a known name."""


class TooManyAtOnce(Busy):
    """The hashing queue is full."""

    def __init__(self) -> None:
        super().__init__("Too many players are logging in right now: try again in a few seconds.")


class HashingQueue:
    """A lock with a limited number of places: `places` threads may hold it or wait for it."""

    def __init__(self, places: int) -> None:
        self._places = Semaphore(places)
        self._lock = Lock()

    @contextmanager
    def turn(self) -> Iterator[None]:
        """Wait for the lock and hold it. Raise TooManyAtOnce at once if no place is free."""
        if not self._places.acquire(blocking=False):
            raise TooManyAtOnce
        try:
            with self._lock:
                yield
        finally:
            self._places.release()


_queue = HashingQueue(1)


def size_queue(threads: int) -> None:
    """Let half of a serving process's threads hash or wait for it. Before this call, only one thread may."""
    global _queue  # noqa: PLW0603  # one per process, because the memory is the process's
    _queue = HashingQueue(max(1, threads // 2))


def refuse_common(password: str) -> str:
    """Return a new password. Raise ValueError with a message if it is one of the most common, ignoring case."""
    if password.casefold() in _COMMON:
        raise ValueError("this password is too common: choose another.")
    return password


def hash_password(password: str) -> str:
    """Return the hash to store for a password. Raise TooManyAtOnce if the queue is full."""
    with _queue.turn():
        return _HASHER.hash(password)


def one_time() -> tuple[str, str]:
    """Generate a one-time password, and return it with its hash."""
    password = "".join(secrets.choice(_ALPHABET) for _ in range(12))
    return password, _QUICK_HASHER.hash(password)


def matches(password: str, stored: str) -> bool:
    """Return whether a password has this hash, after the same time for every hash. Raise TooManyAtOnce."""
    with _queue.turn():
        verified = _verify(password, stored)
        if _QUICK in stored:
            _verify(password, DUMMY_HASH)
        return verified


def _verify(password: str, stored: str) -> bool:
    try:
        return _HASHER.verify(stored, password)
    except (VerifyMismatchError, InvalidHashError):
        return False
