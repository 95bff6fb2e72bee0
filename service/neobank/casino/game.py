"""The definition of a game: validated data with a canonical JSON text, whose SHA-256 identifies the sheet.

A symbol is represented by a code of one character; `symbols` contains the text that players see. An award is a multiple
of the bet per line. Each character of a strip is a stop, and the first stop follows the last.
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
    """The allowed bets per line, in whole ¤: from `minimum` to `maximum`, in multiples of `step`."""

    minimum: int
    maximum: int
    step: int


@dataclass(frozen=True)
class Scatter:
    """A symbol that pays nothing; `needed` of them anywhere on the grid of a paid spin award `spins` free spins."""

    symbol: str
    needed: int
    spins: int


@dataclass(frozen=True, eq=False)
class Game:
    """A game's sheet.

    A line contains the row on each reel as a digit. `awards` contains, for each symbol, the awards of runs of 1, 2, …
    cells from the first reel; `wild` substitutes for every symbol that has awards. A symbol without awards is a blank.
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
        rules = {
            "strips must contain only known symbols": set("".join(self.tight + self.loose)) <= set(self.symbols),
            "both sets must have a strip per reel, of equal length": (
                [*map(len, self.tight)] == [*map(len, self.loose)]
            ),
            "a strip must have at least as many stops as there are rows": all(
                len(strip) >= self.rows for strip in self.tight
            ),
            "a line must name a row on each reel": all(
                len(line) == reels and all(int(row) < self.rows for row in line) for line in self.lines
            ),
            "awards must be of known symbols, with one award per reel in ascending order": all(
                symbol in self.symbols and len(awards) == reels and list(awards) == sorted(awards)
                for symbol, awards in self.awards.items()
            ),
            "the wild must have awards, and the scatter must have none": (self.wild is None or self.wild in self.awards)
            and (self.scatter is None or self.scatter.symbol not in self.awards),
        }
        for rule, satisfied in rules.items():
            if not satisfied:
                raise ValueError(f"the game {self.name} is invalid: {rule}.")

    @property
    def reels(self) -> int:
        """The number of reels."""
        return len(self.tight)

    @property
    def path_name(self) -> str:
        """The name with hyphens, as used in URLs and in the fairness scheme."""
        return self.name.replace("_", "-")

    @property
    def free_spins_awarded(self) -> int:
        """The number of free spins that one trigger awards; 0 for a game without a scatter."""
        return self.scatter.spins if self.scatter else 0

    @cached_property
    def paths(self) -> tuple[tuple[int, ...], ...]:
        """For each line, the indexes of its cells in the concatenated windows of the reels."""
        return tuple(tuple(reel * self.rows + int(row) for reel, row in enumerate(line)) for line in self.lines)

    def strips(self, *, loose: bool) -> tuple[str, ...]:
        """Return one of the two sets of strips."""
        return self.loose if loose else self.tight

    @cached_property
    def canonical(self) -> bytes:
        """The sheet as JSON: UTF-8, sorted keys, no spaces, only integers."""
        return json.dumps(asdict(self), ensure_ascii=False, sort_keys=True, separators=(",", ":")).encode()

    @cached_property
    def sheet(self) -> str:
        """The SHA-256 of the canonical text, in lower-case hex."""
        return hashlib.sha256(self.canonical).hexdigest()

    @classmethod
    def from_canonical(cls, text: bytes) -> Self:
        """Parse the canonical text of a sheet."""
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
