"""A round as it is kept and shown, and the proof that it is what its seeds make of it."""

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
    """A round that was played. Money is in hundredths of ¤, the dial in hundredths of a per cent."""

    id: int
    played_at: datetime
    game: str
    loose: bool
    stops: tuple[int, ...]
    dial: int
    version: int
    """Which published version of the dial that is."""
    sheet: str
    nonce: int
    free: bool
    line_bet: int
    bet: int
    """What was taken: 0 for a free spin."""
    win: int
    awarded: int
    """How many free spins it awarded."""
    server_seed_hash: str
    client_seed: str
    server_seed: bytes | None
    """None while the seed is in use."""

    def outcome(self) -> Outcome:
        """Evaluate the round's stops. Raises ValueError for a sheet that this version does not ship."""
        return play(sheet_of(self), self.stops, loose=self.loose)


def sheet_of(found: Round) -> Game:
    """Give the game that the round was played by. Raises ValueError."""
    game = SHEETS.get(found.sheet)
    if game is None or game.name != found.game:
        raise ValueError(f"there is no sheet {found.sheet} of {found.game} here: a newer version may have it.")
    return game


def problems(found: Round) -> list[str]:
    """Recompute a round of a retired seed; says all that is wrong with it, so nothing where it is right.

    Raises ValueError where it can't be told: the seed is still in use, or the sheet is none that is known.
    """
    if found.server_seed is None:
        raise ValueError("the server seed is still in use: rotate it, then fetch the round again.")
    game = sheet_of(found)
    drawn = draw_round(game, Seeds(found.server_seed, found.client_seed), found.nonce, found.dial)
    outcome = play(game, drawn.stops, loose=drawn.loose)
    awarded = game.free_spins_awarded if outcome.triggers and not found.free else 0
    total = 0 if found.free else found.line_bet * len(game.lines)
    compared = {
        "server_seed_hash": (found.server_seed_hash, commitment(found.server_seed)),
        "set": (strip_set(loose=found.loose), strip_set(loose=drawn.loose)),
        "stops": (list(found.stops), list(drawn.stops)),
        "win": (format_amount(found.win), format_amount(outcome.award * found.line_bet)),
        "bet": (format_amount(found.bet), format_amount(total)),
        "bonus_spins_awarded": (found.awarded, awarded),
    }
    return [f"{name} is {said}, and should be {right}" for name, (said, right) in compared.items() if said != right]


def strip_set(*, loose: bool) -> Literal["tight", "loose"]:
    """Name a set of strips."""
    return "loose" if loose else "tight"
