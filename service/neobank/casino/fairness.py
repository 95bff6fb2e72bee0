"""Scheme nb1: compute a round's strips and stops from the server seed, the client seed and the nonce.

docs/fairness.md specifies the scheme for authors of other verifiers.
"""

import hashlib
import hmac
import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from neobank.casino.exact import DIAL_MINIMUM, DIAL_SPAN
from neobank.casino.game import Game

SCHEME: Final = "nb1"
SEED_BYTES: Final = 32
CLIENT_SEED: Final = re.compile(r"[\x21-\x7e]{1,64}")

_WORDS: Final = 2**32
_BIG_ENDIAN: Final = struct.Struct(">8I")


@dataclass(frozen=True, slots=True)
class Seeds:
    """A server seed (32 bytes) and the client seed that is used with it."""

    server_seed: bytes
    client_seed: str


@dataclass(frozen=True, slots=True)
class Drawn:
    """The set of strips and the stops that were drawn for a round."""

    loose: bool
    stops: tuple[int, ...]


def commitment(server_seed: bytes) -> str:
    """Return the commitment to a server seed, which is published before its use: its SHA-256 in lower-case hex."""
    return hashlib.sha256(server_seed).hexdigest()


def draw_round(game: Game, seeds: Seeds, nonce: int, dial: int) -> Drawn:
    """Draw a round at a dial (hundredths of a per cent): first the set of strips, then each reel's stop."""
    words = _words(seeds, game, nonce)
    loose = _draw(words, DIAL_SPAN) < dial - DIAL_MINIMUM
    return Drawn(loose, tuple(_draw(words, len(strip)) for strip in game.strips(loose=loose)))


def block(game: Game, seeds: Seeds, nonce: int, number: int) -> bytes:
    """Return block `number` of a round: 32 bytes, which are eight words."""
    message = f"{SCHEME}:{game.path_name}:{nonce}:{number}:{seeds.client_seed}"
    return hmac.digest(seeds.server_seed, message.encode("ascii"), hashlib.sha256)


def _words(seeds: Seeds, game: Game, nonce: int) -> Iterator[int]:
    number = 0
    while True:
        yield from _BIG_ENDIAN.unpack(block(game, seeds, nonce, number))
        number += 1


def _draw(words: Iterator[int], bound: int) -> int:
    """Return a uniformly distributed number below `bound`; discard words that would make small numbers more likely."""
    limit = _WORDS - _WORDS % bound
    while (word := next(words)) >= limit:
        pass
    return word % bound
