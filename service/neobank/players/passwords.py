"""Passwords that not everybody guesses, hashed with Argon2id.

One is hashed at a time in a process, and so many requests may wait for that as leave payments half of the threads: a
rush of log-ins is told to come back in a moment.
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
# For 60 random bits, which nobody guesses however fast: a list of players is not worth minutes of hashing.
_QUICK_HASHER = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1, type=Type.ID)
_QUICK: Final = "$m=8,t=1,p=1$"
_ALPHABET: Final = "23456789ABCDEFGHJKMNPQRSTVWXYZabcdefghjkmnpqrstvwxyz"

_COMMON = frozenset(files("neobank.players").joinpath("common_passwords.txt").read_text(encoding="utf-8").split())

NOBODYS_HASH: Final = _HASHER.hash("the password of an account that does not exist")
"""What a log-in under an unknown name is checked against, so that it takes as long as one under a known name."""


class TooManyAtOnce(Busy):
    """As many passwords are being hashed, or wait for it, as there may be."""

    def __init__(self) -> None:
        super().__init__("Very many people are logging in right now: try again in a moment.")


class Turnstile:
    """Lets one in at a time, and keeps so many waiting at most."""

    def __init__(self, room: int) -> None:
        self._room = Semaphore(room)
        self._turn = Lock()

    @contextmanager
    def passed(self) -> Iterator[None]:
        """Wait for one's turn. Raises TooManyAtOnce, at once, where there is no room."""
        if not self._room.acquire(blocking=False):
            raise TooManyAtOnce
        try:
            with self._turn:
                yield
        finally:
            self._room.release()


_turnstile = Turnstile(1)


def make_room(threads: int) -> None:
    """Let half of a serving process's threads hash or wait for it; until this is called, one does."""
    global _turnstile  # noqa: PLW0603  # a process has one, as it has one memory
    _turnstile = Turnstile(max(1, threads // 2))


def refuse_common(password: str) -> str:
    """Give a new password back. Raises ValueError, in words, for one of the most common; upper case makes no other."""
    if password.casefold() in _COMMON:
        raise ValueError("this password is one of the first that anybody tries: choose another.")
    return password


def hash_password(password: str) -> str:
    """Hash a password for keeping. Raises TooManyAtOnce."""
    with _turnstile.passed():
        return _HASHER.hash(password)


def one_time() -> tuple[str, str]:
    """Make a password for one time and its hash."""
    password = "".join(secrets.choice(_ALPHABET) for _ in range(12))
    return password, _QUICK_HASHER.hash(password)


def matches(password: str, kept: str) -> bool:
    """Tell whether a password is the one that was kept; whichever that is, it takes as long. Raises TooManyAtOnce."""
    with _turnstile.passed():
        proven = _verified(password, kept)
        if _QUICK in kept:
            _verified(password, NOBODYS_HASH)
        return proven


def _verified(password: str, kept: str) -> bool:
    try:
        return _HASHER.verify(kept, password)
    except (VerifyMismatchError, InvalidHashError):
        return False
