"""What a game is: plain data, refused where it makes no sense, with one canonical text whose SHA-256 names the sheet.

A symbol is one character (its code) here, and what players see of it stands in `symbols`. An award counts in bets of
one line; a strip's codes are its stops, in order, and the strip goes round.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Final, Self

STRIP_SETS: Final = ("tight", "loose")


@dataclass(frozen=True)
class Bets:
    """What one line may be bet with, in whole ¤: from `minimum` to `maximum` in multiples of `step`."""

    minimum: int
    maximum: int
    step: int


@dataclass(frozen=True)
class Scatter:
    """The symbol that pays nothing, and of which `needed` anywhere on a paid spin award so many free spins."""

    symbol: str
    needed: int
    spins: int


@dataclass(frozen=True, eq=False)
class Game:
    """A game's whole sheet.

    `lines` says the row on each reel; `awards` what a run of 1, 2, … alike from the first reel pays on a line, where
    `wild` stands for every symbol that has awards. A symbol without awards is a blank.
    """

    name: str
    rows: int
    symbols: Mapping[str, str]
    awards: Mapping[str, tuple[int, ...]]
    lines: tuple[str, ...]
    bets: Bets
    tight: tuple[str, ...]
    loose: tuple[str, ...]
    wild: str | None = None
    scatter: Scatter | None = None

    def __post_init__(self) -> None:
        reels = self.reels
        sound = {
            "every strip's symbols are known": set("".join(self.tight + self.loose)) <= set(self.symbols),
            "both sets have a strip a reel, as long in both": [*map(len, self.tight)] == [*map(len, self.loose)],
            "every strip fills the rows": all(len(strip) >= self.rows for strip in self.tight),
            "every line has a row on each reel": all(
                len(line) == reels and all(int(row) < self.rows for row in line) for line in self.lines
            ),
            "awards are of known symbols, one a run, and a longer run pays no less": all(
                symbol in self.symbols and len(awards) == reels and list(awards) == sorted(awards)
                for symbol, awards in self.awards.items()
            ),
            "the wild has awards, and the scatter none": (self.wild is None or self.wild in self.awards)
            and (self.scatter is None or self.scatter.symbol not in self.awards),
        }
        for rule, holds in sound.items():
            if not holds:
                raise ValueError(f"the game {self.name} makes no sense: {rule}, and here not.")

    @property
    def reels(self) -> int:
        """How many reels there are."""
        return len(self.tight)

    @property
    def path_name(self) -> str:
        """The name as addresses have it, and the fairness scheme."""
        return self.name.replace("_", "-")

    @property
    def free_spins_awarded(self) -> int:
        """How many free spins one award has; 0 for a game without."""
        return self.scatter.spins if self.scatter else 0

    @cached_property
    def paths(self) -> tuple[tuple[int, ...], ...]:
        """Say for each line where its cells are in what the reels show, one reel after the other."""
        return tuple(tuple(reel * self.rows + int(row) for reel, row in enumerate(line)) for line in self.lines)

    def strips(self, *, loose: bool) -> tuple[str, ...]:
        """Give one of the two sets."""
        return self.loose if loose else self.tight

    @cached_property
    def canonical(self) -> bytes:
        """The game as JSON: UTF-8, keys in order, no spaces, whole numbers only."""
        return json.dumps(asdict(self), ensure_ascii=False, sort_keys=True, separators=(",", ":")).encode()

    @cached_property
    def sheet(self) -> str:
        """The SHA-256 of the canonical text, in lower-case hex."""
        return hashlib.sha256(self.canonical).hexdigest()

    @classmethod
    def from_canonical(cls, text: bytes) -> Self:
        """Read a sheet that was kept."""
        fields = json.loads(text)
        scatter = fields.pop("scatter")
        return cls(
            bets=Bets(**fields.pop("bets")),
            scatter=Scatter(**scatter) if scatter else None,
            awards={symbol: tuple(awards) for symbol, awards in fields.pop("awards").items()},
            lines=tuple(fields.pop("lines")),
            tight=tuple(fields.pop("tight")),
            loose=tuple(fields.pop("loose")),
            **fields,
        )
