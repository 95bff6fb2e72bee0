"""A played round, and its verification from the seeds."""

from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from neobank.casino.engine import Outcome, play
from neobank.casino.fairness import Seeds, commitment, draw_round
from neobank.casino.game import Game
from neobank.casino.games import SHEETS
from neobank.ledger.money import format_amount


@dataclass(frozen=True, slots=True)
class Round:
    """A played round. Amounts are in hundredths of ¤, the dial is in hundredths of a per cent."""

    id: int
    played_at: datetime
    game: str
    loose: bool
    stops: tuple[int, ...]
    dial: int
    version: int
    """The id of the published version of the dial."""
    sheet: str
    nonce: int
    free: bool
    line_bet: int
    bet: int
    """The whole bet that was taken: 0 for a free spin."""
    win: int
    awarded: int
    """The number of free spins that the round awarded."""
    server_seed_hash: str
    client_seed: str
    server_seed: bytes | None
    """None while the seed is in use."""

    def outcome(self) -> Outcome:
        """Evaluate the grid at the round's stops. Raise ValueError if this version does not contain the sheet."""
        return play(sheet_of(self), self.stops, loose=self.loose)


def sheet_of(played: Round) -> Game:
    """Return the sheet that the round was played on. Raise ValueError if this version does not contain it."""
    game = SHEETS.get(played.sheet)
    if game is None or game.name != played.game:
        raise ValueError(
            f"this version of neobank has no sheet {played.sheet} of {played.game}: try again with a newer version."
        )
    return game


def problems(played: Round) -> list[str]:
    """Recompute a round of a retired seed, and return a text for each field that differs; none if it is correct.

    Raise ValueError if the round can't be recomputed: the seed is still in use, or the sheet is unknown.
    """
    if played.server_seed is None:
        raise ValueError(
            "the server seed is still in use: reveal it with POST /api/v1/casino/seed, then fetch the round again."
        )
    game = sheet_of(played)
    drawn = draw_round(game, Seeds(played.server_seed, played.client_seed), played.nonce, played.dial)
    outcome = play(game, drawn.stops, loose=drawn.loose)
    awarded = game.free_spins_awarded if outcome.triggers and not played.free else 0
    total = 0 if played.free else played.line_bet * len(game.lines)
    compared = {
        "server_seed_hash": (played.server_seed_hash, commitment(played.server_seed)),
        "set": (strip_set(loose=played.loose), strip_set(loose=drawn.loose)),
        "stops": (list(played.stops), list(drawn.stops)),
        "win": (format_amount(played.win), format_amount(outcome.award * played.line_bet)),
        "bet": (format_amount(played.bet), format_amount(total)),
        "bonus_spins_awarded": (played.awarded, awarded),
    }
    return [
        f"{name} is {recorded} but should be {expected}"
        for name, (recorded, expected) in compared.items()
        if recorded != expected
    ]


def strip_set(*, loose: bool) -> Literal["tight", "loose"]:
    """Return the name of a set of strips."""
    return "loose" if loose else "tight"
