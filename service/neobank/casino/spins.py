"""A spin: what it depends on is read under the player's lock, the outcome computed, and all of it settled as one.

Whatever refuses a spin is known without its outcome, and the outcome is told only after the commit. So a refused or
aborted spin reveals nothing, and the next try of the nonce plays the same round.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import ClassVar, Final, TypeVar
from zoneinfo import ZoneInfo

from sqlalchemy import Connection, Row, column, text
from sqlalchemy.exc import DBAPIError, IntegrityError

from neobank.casino.engine import Outcome, play
from neobank.casino.exact import largest_award
from neobank.casino.fairness import Drawn, Seeds, draw_round
from neobank.casino.game import Game
from neobank.casino.games import SHEETS
from neobank.casino.protection import Limits, casino_day
from neobank.casino.seeds import ensure_seeds
from neobank.errors import BankError, Busy
from neobank.ledger.money import format_amount
from neobank.ledger.operations import refusal, violated_constraint


class BadBet(BankError):
    """The game takes no such bet."""


class GameClosed(BankError):
    """The organisers have closed the game."""


class HouseCannotPay(BankError):
    """The house holds less than the bet's largest win."""

    status: ClassVar[int] = 409


class HouseBusy(Busy):
    """No shard of the house could be used in this attempt; end the transaction and make the next attempt."""


class Overtaken(Busy):
    """The player's side of the casino has changed since it was looked at; the next try looks again."""


@dataclass(frozen=True, slots=True)
class Terms:
    """What a round is played at; the bet a line in hundredths, the dial in hundredths of a per cent."""

    game: Game
    version: int
    dial: int
    line_bet: int
    free: bool
    free_remaining: int
    """Free spins that wait, this one included."""

    @property
    def bet(self) -> int:
        """What is taken, in hundredths."""
        return 0 if self.free else self.line_bet * len(self.game.lines)


@dataclass(frozen=True, slots=True)
class SpinResult:
    """A round that was just played; money in hundredths."""

    round_id: int
    played_at: datetime
    terms: Terms
    outcome: Outcome
    win: int
    awarded: int
    free_spins_remaining: int
    balance: int
    net_today: int


# Their columns are named here, too: what SQLAlchemy need not find out from each answer, it keeps.
_LOOK: Final = text("SELECT * FROM look_at_spin(:account, :game)").columns(
    *map(column, ("row_version", "server_seed", "client_seed", "nonce", "day", "day_net")),
    *map(column, ("daily_loss_limit", "pending_limit", "pending_from", "excluded_until")),
    *map(column, ("is_enabled", "version_id", "dial")),
    *map(column, ("free_remaining", "free_line_bet", "free_version_id", "free_dial", "free_sheet")),
    column("looked_at"),
)
_SETTLE: Final = text(
    "SELECT * FROM settle_round(:row_version, :account, :nonce, :game, :version, :dial, :sheet, :loose,"
    " CAST(:stops AS smallint[]), :free, :line_bet, :bet, :win, :largest, CAST(:awarded AS smallint), :day, :attempt)"
).columns(*map(column, ("round_id", "played_at", "balance_now", "net_today")))
_HOUSE_BUSY: Final = "NBH01"
_OVERTAKEN: Final = "NBH02"
ATTEMPTS: Final = (1, 2, 3)
"""The attempts to change the house's balance: each has its own method and transaction, see change_house."""

LOOKS: Final = 20
"""How often a spin looks again that others of the same player overtake, before it is put off."""

T = TypeVar("T")


def check_bet(game: Game, line_bet: int) -> None:
    """Raise BadBet, in words, for a bet a line (hundredths) that the game does not take."""
    bets = game.bets
    if line_bet % (bets.step * 100) or not bets.minimum * 100 <= line_bet <= bets.maximum * 100:
        of = "" if len(game.lines) == 1 else " a line"
        raise BadBet(f"A bet is {bets.minimum} to {bets.maximum}{of}, in multiples of {bets.step}.")


def retry_spin(play_once: Callable[[int], T]) -> T:
    """Call `play_once` with each of ATTEMPTS until the house can pay, and again where the spin is overtaken.

    Raise what `play_once` raises.
    """
    attempts, looks = list(ATTEMPTS), LOOKS
    while True:
        try:
            return play_once(attempts[0])
        except HouseBusy:
            attempts.pop(0)
            if not attempts:
                raise
        except Overtaken:
            looks -= 1
            if not looks:
                raise


def spin(
    connection: Connection,
    *,
    account_id: int,
    account_number: str,
    game: Game,
    line_bet: int,
    zone: ZoneInfo,
    attempt: int,
) -> SpinResult:
    """Play a round, in one of the attempts of `retry_spin`; free, where free spins wait.

    The last statement does it all, so that a connection of single statements will do; in a transaction the round is
    part of it. Raises BadBet, GameClosed, Excluded, LimitReached, InsufficientFunds, BalanceLimit, AccountFrozen,
    ReadOnly, HouseCannotPay, HouseBusy or Overtaken; nothing has changed then, and a transaction has to be rolled back.
    """
    check_bet(game, line_bet)
    values = {"account": account_id, "game": game.name}
    seen = connection.execute(_LOOK, values).one_or_none()
    if seen is None:
        ensure_seeds(connection, account_id, account_number)
        seen = connection.execute(_LOOK, values).one()
    limits = _limits(seen)
    terms = _terms(seen, game, line_bet)
    if not seen.is_enabled:
        raise GameClosed("The organisers have closed this game for now.")
    limits.admit()
    if not terms.free:
        limits.admit_bet(terms.bet, zone)
    drawn = draw_round(terms.game, Seeds(bytes(seen.server_seed), seen.client_seed), seen.nonce, terms.dial)
    outcome = play(terms.game, drawn.stops, loose=drawn.loose)
    values |= {
        "row_version": seen.row_version,
        "nonce": seen.nonce,
        "day": casino_day(limits.looked_at, zone),
        "attempt": attempt,
    }
    return _settle(connection, values, terms, drawn, outcome)


def _limits(seen: Row[object]) -> Limits:
    return Limits(
        seen.looked_at,
        seen.day,
        seen.day_net,
        seen.daily_loss_limit,
        seen.pending_limit,
        seen.pending_from,
        seen.excluded_until,
    )


def _terms(seen: Row[object], game: Game, line_bet: int) -> Terms:
    if seen.free_remaining is None:
        return Terms(game, seen.version_id, seen.dial, line_bet, free=False, free_remaining=0)
    stored = SHEETS.get(seen.free_sheet)
    if stored is None:
        raise Busy("These free spins are of rules that this server does not have yet; try again in a moment.")
    return Terms(
        stored,
        seen.free_version_id,
        seen.free_dial,
        seen.free_line_bet,
        free=True,
        free_remaining=seen.free_remaining,
    )


def _settle(
    connection: Connection, values: dict[str, object], terms: Terms, drawn: Drawn, outcome: Outcome
) -> SpinResult:
    largest = largest_award(terms.game) * terms.line_bet
    win = outcome.award * terms.line_bet
    awarded = terms.game.free_spins_awarded if outcome.triggers and not terms.free else 0
    values |= {
        "version": terms.version,
        "dial": terms.dial,
        "sheet": terms.game.sheet,
        "loose": drawn.loose,
        "stops": list(drawn.stops),
        "free": terms.free,
        "line_bet": terms.line_bet,
        "bet": terms.bet,
        "win": win,
        "largest": largest,
        "awarded": awarded,
    }
    try:
        settled = connection.execute(_SETTLE, values).one()
    except IntegrityError as error:
        if violated_constraint(error) == "house_can_pay":
            could_win = format_amount(largest)
            raise HouseCannotPay(
                f"The house can't pay what this could win, {could_win}: nothing was taken. Bet less, or wait."
            ) from error
        raise refusal(error, terms.bet) from error
    except DBAPIError as error:
        code = getattr(error.orig, "pgcode", None)
        if code == _HOUSE_BUSY:
            raise HouseBusy("The house is busy paying others; try again in a moment.") from error
        if code == _OVERTAKEN:
            raise Overtaken("Another device of yours is playing; try again in a moment.") from error
        raise
    remaining = terms.free_remaining - 1 if terms.free else awarded
    return SpinResult(
        settled.round_id,
        settled.played_at,
        terms,
        outcome,
        win,
        awarded,
        remaining,
        settled.balance_now,
        settled.net_today,
    )
