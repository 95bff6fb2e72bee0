"""A spin: read its inputs without a lock, compute the outcome, and settle the round in one statement.

The settlement succeeds only if the player's row of `casino_players` has not changed since the inputs were read. Whether
a spin is refused never depends on its outcome, and the response with the outcome is sent only after the commit. So a
refused or aborted spin reveals nothing, and its nonce is not used up: the player's next spin, of either game, uses it.
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
from neobank.ledger.operations import BalanceLimit, refusal, violated_constraint


class BadBet(BankError):
    """The game does not allow this bet."""


class GameClosed(BankError):
    """The organisers have closed the game."""


class HouseCannotPay(BankError):
    """The house's balance plus the bet is less than the largest possible win of the bet."""

    status: ClassVar[int] = 409


class HouseBusy(Busy):
    """The attempt found no usable shard of the house. End the transaction and use the next value of ATTEMPTS."""


class Overtaken(Busy):
    """The player's casino state has changed since the inputs were read. Repeat the spin with the same attempt."""


@dataclass(frozen=True, slots=True)
class Terms:
    """The terms of a round: game, dial (the return to player, in basis points), bet per line (hundredths of ¤)."""

    game: Game
    version: int
    dial: int
    line_bet: int
    free: bool
    free_remaining: int
    """The number of unused free spins, including this one; 0 for a paid spin."""

    @property
    def bet(self) -> int:
        """The whole bet in hundredths: 0 for a free spin."""
        return 0 if self.free else self.line_bet * len(self.game.lines)


@dataclass(frozen=True, slots=True)
class SpinResult:
    """A round that was just played; amounts in hundredths of ¤."""

    round_id: int
    played_at: datetime
    terms: Terms
    outcome: Outcome
    win: int
    awarded: int
    free_spins_remaining: int
    balance: int
    net_today: int


# The columns are named, so that SQLAlchemy caches the metadata of the result instead of building it for each execution.
_READ_INPUTS: Final = text("SELECT * FROM look_at_spin(:account, :game)").columns(
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
"""The values of `attempt`, in order. Each selects another way to lock the house's balance and needs its own
transaction: see change_house in functions/casino.sql."""

MAX_OVERTAKEN: Final = 20
"""A spin fails after this many Overtaken errors."""

T = TypeVar("T")


def check_bet(game: Game, line_bet: int) -> None:
    """Raise BadBet if the game does not allow this bet per line (hundredths)."""
    bets = game.bets
    if line_bet % (bets.step * 100) or not bets.minimum * 100 <= line_bet <= bets.maximum * 100:
        per_line = "" if len(game.lines) == 1 else " per line"
        raise BadBet(
            f"The bet is {format_amount(line_bet)}{per_line}, but must be ¤{bets.minimum} to ¤{bets.maximum}"
            f" in multiples of ¤{bets.step}."
        )


def retry_spin(play_once: Callable[[int], T]) -> T:
    """Call `play_once` with the attempts of ATTEMPTS in turn until it returns.

    Move to the next attempt after HouseBusy, and repeat the same attempt after Overtaken. Raise either when its tries
    are used up, and any other error of `play_once` at once.
    """
    attempts, remaining = list(ATTEMPTS), MAX_OVERTAKEN
    while True:
        try:
            return play_once(attempts[0])
        except HouseBusy:
            attempts.pop(0)
            if not attempts:
                raise
        except Overtaken:
            remaining -= 1
            if not remaining:
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
    """Play a round as one attempt of `retry_spin`. It is free if the player has free spins of the game.

    The last statement settles the whole round, so the connection may be in autocommit mode. If a transaction is open,
    the round is part of it.
    Raise BadBet, GameClosed, Excluded, LimitReached, InsufficientFunds, BalanceLimit, AccountFrozen, ReadOnly,
    HouseCannotPay, HouseBusy, Overtaken, or Busy if this version does not know the sheet of the free spins. Then no
    round was played and no money moved, and an open transaction must be rolled back.
    """
    check_bet(game, line_bet)
    values = {"account": account_id, "game": game.name}
    inputs = connection.execute(_READ_INPUTS, values).one_or_none()
    if inputs is None:
        ensure_seeds(connection, account_id, account_number)
        inputs = connection.execute(_READ_INPUTS, values).one()
    limits = _limits(inputs)
    terms = _terms(inputs, game, line_bet)
    if not inputs.is_enabled:
        raise GameClosed("The organisers have closed this game. Try again later.")
    limits.require_not_excluded()
    if not terms.free:
        limits.require_within_limit(terms.bet, zone)
    drawn = draw_round(terms.game, Seeds(bytes(inputs.server_seed), inputs.client_seed), inputs.nonce, terms.dial)
    outcome = play(terms.game, drawn.stops, loose=drawn.loose)
    values |= {
        "row_version": inputs.row_version,
        "nonce": inputs.nonce,
        "day": casino_day(limits.read_at, zone),
        "attempt": attempt,
    }
    return _settle(connection, values, terms, drawn, outcome)


def _limits(inputs: Row[object]) -> Limits:
    return Limits(
        inputs.looked_at,
        inputs.day,
        inputs.day_net,
        inputs.daily_loss_limit,
        inputs.pending_limit,
        inputs.pending_from,
        inputs.excluded_until,
    )


def _terms(inputs: Row[object], game: Game, line_bet: int) -> Terms:
    if inputs.free_remaining is None:
        return Terms(game, inputs.version_id, inputs.dial, line_bet, free=False, free_remaining=0)
    awarding_game = SHEETS.get(inputs.free_sheet)
    if awarding_game is None:
        raise Busy("The bank is being updated and can't play these free spins yet. Try again in a moment.")
    return Terms(
        awarding_game,
        inputs.free_version_id,
        inputs.free_dial,
        inputs.free_line_bet,
        free=True,
        free_remaining=inputs.free_remaining,
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
        largest_win = format_amount(largest)
        advice = "Try again later." if terms.free else "Bet less, or try again later."
        match violated_constraint(error):
            case "house_can_pay":
                raise HouseCannotPay(
                    f"The house can't pay the largest win of this bet, {largest_win}. No bet was taken. {advice}"
                ) from error
            case "balance_within_bounds":
                raise BalanceLimit(
                    f"Your balance could exceed its maximum with the largest win of this bet, {largest_win}."
                    " No bet was taken."
                ) from error
        raise refusal(error, terms.bet) from error
    except DBAPIError as error:
        code = getattr(error.orig, "pgcode", None)
        if code == _HOUSE_BUSY:
            raise HouseBusy("The house is busy with other players. Try again in a moment.") from error
        if code == _OVERTAKEN:
            raise Overtaken("Another request of yours changed your casino account. Try again in a moment.") from error
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
