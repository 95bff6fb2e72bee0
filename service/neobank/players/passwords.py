"""Passwords: rejection of common ones, and hashing with Argon2id.

A process hashes one password at a time, in one thread with a low priority, so that payments are not delayed and only
one thread needs the memory. Requests wait for their turn in order, without a database connection, for at most five
seconds. At most three quarters of a process's threads may wait, so that payments keep the others. Beyond these limits a
request is rejected with 503 and may be sent again in a few seconds.
"""

import hmac
import os
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from importlib.resources import files
from typing import Final, TypeVar

from argon2 import PasswordHasher, Type
from argon2.exceptions import InvalidHashError, VerifyMismatchError

from neobank.errors import Busy

MIN_LENGTH: Final = 8
MAX_LENGTH: Final = 1000

MAX_WAIT: Final = 5
"""The time that a request may wait for its turn to hash, in seconds."""

NICENESS: Final = 5
"""The hashing thread's additional niceness on Linux: when both wait, other threads get three times its share."""

Result = TypeVar("Result")

# OWASP's first choice for Argon2id (Password Storage Cheat Sheet): 19 MiB, two passes, one lane.
_HASHER = PasswordHasher(time_cost=2, memory_cost=19_456, parallelism=1, type=Type.ID)
# For one-time passwords of more than 60 random bits, which can't be guessed even with a fast hash: an import of many
# players would otherwise hash for minutes.
_QUICK_HASHER = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1, type=Type.ID)
_QUICK: Final = "$m=8,t=1,p=1$"
_ALPHABET: Final = "23456789ABCDEFGHJKMNPQRSTVWXYZabcdefghjkmnpqrstvwxyz"
_ONE_TIME_LENGTH: Final = 12

_COMMON = frozenset(files("neobank.players").joinpath("common_passwords.txt").read_text(encoding="utf-8").split())

DUMMY_HASH: Final = _HASHER.hash("the password of an account that does not exist")
"""The hash that a log-in with an unknown name is checked against, so that it takes as long as one with a known name."""


class TooManyAtOnce(Busy):
    """The hashing queue is full."""

    def __init__(self) -> None:
        super().__init__("Too many players are logging in right now: try again in a few seconds.")


class HashingQueue:
    """A thread that hashes one password at a time, in the order of the requests; at most `places` requests wait."""

    def __init__(self, places: int) -> None:
        self._places = threading.Semaphore(places)
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="hashing", initializer=_lower_priority)

    def run(self, hashing: Callable[[], Result]) -> Result:
        """Wait for the turn, and return the result. Raise TooManyAtOnce after MAX_WAIT, or at once without a place."""
        if not self._places.acquire(blocking=False):
            raise TooManyAtOnce
        try:
            future = self._thread.submit(hashing)
            try:
                return future.result(MAX_WAIT)
            except TimeoutError:
                if future.cancel():
                    raise TooManyAtOnce from None
                return future.result()  # its turn has come
        finally:
            self._places.release()


def _lower_priority() -> None:
    if sys.platform == "linux":  # elsewhere a thread has the priority of its process
        os.nice(NICENESS)  # that of the thread


_queue = HashingQueue(1)


def size_queue(threads: int) -> None:
    """Let three quarters of a serving process's threads wait for hashing. Before this call, only one thread may."""
    global _queue  # noqa: PLW0603  # one per process, because the memory is the process's
    _queue = HashingQueue(max(1, threads * 3 // 4))


def refuse_common(password: str) -> str:
    """Return a new password. Raise ValueError with a message if it is one of the most common, ignoring case."""
    if password.casefold() in _COMMON:
        raise ValueError("this password is too common: choose another.")
    return password


def hash_password(password: str) -> str:
    """Return the hash to store for a password. Raise TooManyAtOnce if the queue is full."""
    return _queue.run(lambda: _HASHER.hash(password))


def one_time(seed: bytes, index: int) -> str:
    """Derive the one-time password number `index` from a secret seed of 32 bytes. The same seed gives the same ones."""
    number = int.from_bytes(hmac.digest(seed, str(index).encode(), "sha256"))
    characters = []
    for _ in range(_ONE_TIME_LENGTH):
        number, place = divmod(number, len(_ALPHABET))
        characters.append(_ALPHABET[place])
    return "".join(characters)


def hash_one_time(password: str) -> str:
    """Return the hash to store for a one-time password that `one_time` generated."""
    return _QUICK_HASHER.hash(password)


def matches(password: str, stored: str) -> bool:
    """Return whether a password has this hash, after the same time for every hash. Raise TooManyAtOnce."""
    return _queue.run(lambda: _matches(password, stored))


def _matches(password: str, stored: str) -> bool:
    verified = _verify(password, stored)
    if _QUICK in stored:
        _verify(password, DUMMY_HASH)
    return verified


def _verify(password: str, stored: str) -> bool:
    try:
        return _HASHER.verify(stored, password)
    except (VerifyMismatchError, InvalidHashError):
        return False
