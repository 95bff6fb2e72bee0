"""Passwords that not everybody guesses, hashed with Argon2id.

One is hashed at a time in a process, so that a rush of log-ins leaves payments room.
"""

import secrets
from importlib.resources import files
from threading import BoundedSemaphore
from typing import Final

from argon2 import PasswordHasher, Type
from argon2.exceptions import InvalidHashError, VerifyMismatchError

MIN_LENGTH: Final = 8
MAX_LENGTH: Final = 1000

# OWASP's first choice for Argon2id (Password Storage Cheat Sheet): 19 MiB, two passes, one lane.
_HASHER = PasswordHasher(time_cost=2, memory_cost=19_456, parallelism=1, type=Type.ID)
# For 60 random bits, which nobody guesses however fast: a list of players is not worth minutes of hashing.
_QUICK_HASHER = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1, type=Type.ID)
_TURN = BoundedSemaphore(1)
_ALPHABET: Final = "23456789ABCDEFGHJKMNPQRSTVWXYZabcdefghjkmnpqrstvwxyz"

_COMMON = frozenset(files("neobank.players").joinpath("common_passwords.txt").read_text(encoding="utf-8").split())

NOBODYS_HASH: Final = _HASHER.hash("the password of an account that does not exist")
"""What a log-in under an unknown name is checked against, so that it takes as long as one under a known name."""


def refuse_common(password: str) -> str:
    """Give a new password back. Raises ValueError, in words, for one of the most common; upper case makes no other."""
    if password.casefold() in _COMMON:
        raise ValueError("this password is one of the first that anybody tries: choose another.")
    return password


def hash_password(password: str) -> str:
    """Hash a password for keeping."""
    with _TURN:
        return _HASHER.hash(password)


def one_time() -> tuple[str, str]:
    """Make a password for one time and its hash."""
    password = "".join(secrets.choice(_ALPHABET) for _ in range(12))
    return password, _QUICK_HASHER.hash(password)


def matches(password: str, kept: str) -> bool:
    """Tell whether a password is the one that was kept."""
    with _TURN:
        try:
            return _HASHER.verify(kept, password)
        except (VerifyMismatchError, InvalidHashError):
            return False
