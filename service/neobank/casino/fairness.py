"""Scheme nb1: how a round's outcome follows from a server seed, a client seed and a nonce, and from nothing else.

docs/fairness.md describes it for whoever writes another verifier.
"""

import hashlib
import hmac
import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from neobank.casino.exact import DIAL_MINIMUM, DRAWN_FROM
from neobank.casino.game import Game

SCHEME: Final = "nb1"
SEED_BYTES: Final = 32
CLIENT_SEED: Final = re.compile(r"[\x21-\x7e]{1,64}")

_WORDS: Final = 2**32
_BIG_ENDIAN: Final = struct.Struct(">8I")


@dataclass(frozen=True, slots=True)
class Seeds:
    """What the rounds of one server seed follow from."""

    server_seed: bytes
    client_seed: str


@dataclass(frozen=True, slots=True)
class Drawn:
    """Which set of strips a round is played on, and where its reels stop."""

    loose: bool
    stops: tuple[int, ...]


def commitment(server_seed: bytes) -> str:
    """Give what is shown of a server seed before it is used: its SHA-256 in lower-case hex."""
    return hashlib.sha256(server_seed).hexdigest()


def draw_round(game: Game, seeds: Seeds, nonce: int, dial: int) -> Drawn:
    """Draw a round at a dial (hundredths of a per cent): first the set of strips, then each reel's stop."""
    words = _words(seeds, game, nonce)
    loose = _draw(words, DRAWN_FROM) < dial - DIAL_MINIMUM
    return Drawn(loose, tuple(_draw(words, len(strip)) for strip in game.strips(loose=loose)))


def block(game: Game, seeds: Seeds, nonce: int, number: int) -> bytes:
    """Give block `number` of a round: 32 bytes, eight words."""
    message = f"{SCHEME}:{game.path_name}:{nonce}:{number}:{seeds.client_seed}"
    return hmac.digest(seeds.server_seed, message.encode("ascii"), hashlib.sha256)


def _words(seeds: Seeds, game: Game, nonce: int) -> Iterator[int]:
    number = 0
    while True:
        yield from _BIG_ENDIAN.unpack(block(game, seeds, nonce, number))
        number += 1


def _draw(words: Iterator[int], sides: int) -> int:
    """Give a number below `sides`, each as likely; words of the incomplete last run are left out."""
    limit = _WORDS - _WORDS % sides
    while (word := next(words)) >= limit:
        pass
    return word % sides
