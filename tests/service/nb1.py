"""A verifier of rounds, written from docs/fairness.md alone: it imports nothing of the service.

Rounds and sheets are the JSON of the interface. Each problem is returned as a sentence.
"""

import hashlib
import hmac
import itertools
import json
import struct
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

Shown = Mapping[str, Any]
"""A JSON object: a round, or a sheet."""


@dataclass(frozen=True)
class Result:
    """The outcome that the seeds determine; the award is in line bets."""

    set: str
    stops: list[int]
    grid: list[str]
    award: int
    triggers: bool


def words(server_seed: bytes, game: str, nonce: int, client_seed: str) -> Iterator[int]:
    for block in itertools.count():
        message = f"nb1:{game}:{nonce}:{block}:{client_seed}".encode("ascii")
        yield from struct.unpack(">8I", hmac.new(server_seed, message, hashlib.sha256).digest())


def draw(from_: Iterator[int], n: int) -> int:
    while (u := next(from_)) >= 2**32 - 2**32 % n:
        pass
    return u % n


def play(sheet: Shown, server_seed: bytes, client_seed: str, nonce: int, dial: int) -> Result:
    """Compute a round; the dial is in hundredths of a per cent."""
    stream = words(server_seed, sheet["name"].replace("_", "-"), nonce, client_seed)
    set_ = "loose" if draw(stream, 10_000) < dial - 5_000 else "tight"
    strips: list[str] = sheet[set_]
    stops = [draw(stream, len(strip)) for strip in strips]
    columns = [[strip[(stop + row) % len(strip)] for row in range(sheet["rows"])] for strip, stop in zip(strips, stops)]  # noqa: B905
    scatter = sheet["scatter"]
    scattered = sum(column.count(scatter["symbol"]) for column in columns) if scatter else 0
    return Result(
        set_,
        stops,
        ["".join(row) for row in zip(*columns)],  # noqa: B905
        sum(line_award(sheet, [columns[reel][int(row)] for reel, row in enumerate(line)]) for line in sheet["lines"]),
        triggers=bool(scatter) and scattered >= scatter["needed"],
    )


def line_award(sheet: Shown, cells: Sequence[str]) -> int:
    best = 0
    for symbol, awards in sheet["awards"].items():
        run = len([*itertools.takewhile(lambda cell: cell in (symbol, sheet["wild"]), cells)])  # noqa: B023
        best = max(best, awards[run - 1] if run else 0)
    return best


def wrong_with(shown: Shown, sheet_text: bytes) -> list[str]:
    """Recompute a round of a revealed seed from the bytes of its sheet; return the differences."""
    sheet, seed = json.loads(sheet_text), bytes.fromhex(shown["server_seed"])
    found = play(sheet, seed, shown["client_seed"], shown["nonce"], hundredths(shown["dial"]))
    free, line_bet = shown["was_free_spin"], hundredths(shown["bet_per_line"])
    expected = {
        "sheet": (shown["sheet"], hashlib.sha256(sheet_text).hexdigest()),
        "game": (shown["game"], sheet["name"]),
        "server_seed_hash": (shown["server_seed_hash"], hashlib.sha256(seed).hexdigest()),
        "set": (shown["set"], found.set),
        "stops": (shown["stops"], found.stops),
        "grid": (shown["grid"], [[sheet["symbols"][code] for code in row] for row in found.grid]),
        "bet": (hundredths(shown["bet"]), 0 if free else line_bet * len(sheet["lines"])),
        "win": (hundredths(shown["win"]), found.award * line_bet),
        "win_multiplier": (shown["win_multiplier"], found.award),
        "bonus_spins_awarded": (
            shown["bonus_spins_awarded"],
            sheet["scatter"]["spins"] if found.triggers and not free else 0,
        ),
    }
    return [f"{name} is {actual}, expected {wanted}" for name, (actual, wanted) in expected.items() if actual != wanted]


def wrong_in_all(history: Sequence[Shown], dials: Mapping[int, Any]) -> list[str]:
    """Check all rounds of a player, oldest first, against each other and against the published dials by version."""
    wrong: list[str] = []
    nonces: defaultdict[str, list[int]] = defaultdict(list)
    remaining: dict[str, tuple[int, tuple[object, ...]]] = {}
    for shown in history:
        nonces[shown["server_seed_hash"]].append(shown["nonce"])
        if dials.get(shown["config_version"]) != shown["dial"]:
            wrong.append(f"round {shown['id']}: version {shown['config_version']} has a different dial")
        left, terms = remaining.get(shown["game"], (0, ()))
        if shown["was_free_spin"] != (left > 0):
            wrong.append(f"round {shown['id']}: {left} free spins remain")
        elif left and terms != terms_of(shown):
            wrong.append(f"round {shown['id']}: its terms differ from those of the round that awarded it")
        remaining[shown["game"]] = (left - 1, terms) if left else (shown["bonus_spins_awarded"], terms_of(shown))
    wrong += [f"seed {it}: the nonces have a gap" for it, found in nonces.items() if found != [*range(len(found))]]
    return wrong


def terms_of(shown: Shown) -> tuple[object, ...]:
    return tuple(shown[name] for name in ("bet_per_line", "dial", "config_version", "sheet"))


def hundredths(amount: float) -> int:
    return int(Decimal(str(amount)) * 100)
