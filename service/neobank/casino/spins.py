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
from neobank.casino.seeds import enter
from neobank.errors import BankError, Busy
from neobank.ledger.money import in_words
from neobank.ledger.operations import refusal, violated_constraint


class BadBet(BankError):
    """The game takes no such bet."""


class GameClosed(BankError):
    """The organisers have closed the game."""


class HouseCannotPay(BankError):
    """The house holds less than the bet's largest win."""

    status: ClassVar[int] = 409


class HouseBusy(Busy):
    """No part of the house's money could be had; the transaction has to end, and the next try is another way."""


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
class Spun:
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
_BEGIN: Final = text("SELECT * FROM begin_spin(:account, :game)").columns(
    *map(column, ("server_seed", "client_seed", "nonce", "day", "day_net")),
    *map(column, ("daily_loss_limit", "pending_limit", "pending_from", "excluded_until")),
    *map(column, ("is_enabled", "version_id", "dial")),
    *map(column, ("free_remaining", "free_line_bet", "free_version_id", "free_dial", "free_sheet")),
    column("looked_at"),
)
_SETTLE: Final = text(
    "SELECT * FROM settle_spin(:account, :nonce, :game, :version, :dial, :sheet, :loose, CAST(:stops AS smallint[]),"
    " :free, :line_bet, :bet, :win, :largest, CAST(:awarded AS smallint), :day, :attempt)"
).columns(*map(column, ("round_id", "played_at", "balance_now", "net_today")))
_HOUSE_BUSY: Final = "NBH01"
ATTEMPTS: Final = (1, 2, 3)
"""The house's three ways to pay, each in a transaction of its own: see change_house."""

T = TypeVar("T")


def check_bet(game: Game, line_bet: int) -> None:
    """Raise BadBet, in words, for a bet a line (hundredths) that the game does not take."""
    bets = game.bets
    if line_bet % (bets.step * 100) or not bets.minimum * 100 <= line_bet <= bets.maximum * 100:
        of = "" if len(game.lines) == 1 else " a line"
        raise BadBet(f"A bet is {bets.minimum} to {bets.maximum}{of}, in multiples of {bets.step}.")


def attempt(act: Callable[[int], T]) -> T:
    """Do what plays a spin in a transaction of its own, by each way of the house in turn. Raises what `act` raises."""
    for way in ATTEMPTS[:-1]:
        try:
            return act(way)
        except HouseBusy:
            continue
    return act(ATTEMPTS[-1])


def spin(
    connection: Connection,
    *,
    account_id: int,
    account_number: str,
    game: Game,
    line_bet: int,
    zone: ZoneInfo,
    way: int,
) -> Spun:
    """Play a round in this transaction, by one of the ways of `attempt`; free, where free spins wait.

    Raises BadBet, GameClosed, Excluded, LimitReached, InsufficientFunds, BalanceLimit, AccountFrozen, ReadOnly or
    HouseCannotPay; nothing has changed then, and the transaction has to be rolled back.
    """
    check_bet(game, line_bet)
    values = {"account": account_id, "game": game.name}
    begun = connection.execute(_BEGIN, values).one_or_none()
    if begun is None:
        enter(connection, account_id, account_number)
        begun = connection.execute(_BEGIN, values).one()
    limits = _limits(begun)
    terms = _terms(begun, game, line_bet)
    if not begun.is_enabled:
        raise GameClosed("The organisers have closed this game for now.")
    limits.admit()
    if not terms.free:
        limits.admit_bet(terms.bet, zone)
    drawn = draw_round(terms.game, Seeds(bytes(begun.server_seed), begun.client_seed), begun.nonce, terms.dial)
    outcome = play(terms.game, drawn.stops, loose=drawn.loose)
    values |= {"nonce": begun.nonce, "day": casino_day(limits.looked_at, zone), "attempt": way}
    return _settle(connection, values, terms, drawn, outcome)


def _limits(begun: Row[object]) -> Limits:
    return Limits(
        begun.looked_at,
        begun.day,
        begun.day_net,
        begun.daily_loss_limit,
        begun.pending_limit,
        begun.pending_from,
        begun.excluded_until,
    )


def _terms(begun: Row[object], game: Game, line_bet: int) -> Terms:
    if begun.free_remaining is None:
        return Terms(game, begun.version_id, begun.dial, line_bet, free=False, free_remaining=0)
    stored = SHEETS.get(begun.free_sheet)
    if stored is None:
        raise Busy("These free spins are of rules that this server does not have yet; try again in a moment.")
    return Terms(
        stored,
        begun.free_version_id,
        begun.free_dial,
        begun.free_line_bet,
        free=True,
        free_remaining=begun.free_remaining,
    )


def _settle(connection: Connection, values: dict[str, object], terms: Terms, drawn: Drawn, outcome: Outcome) -> Spun:
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
            raise HouseCannotPay(
                f"The house can't pay what this could win, {in_words(largest)}: nothing was taken. Bet less, or wait."
            ) from error
        raise refusal(error, terms.bet) from error
    except DBAPIError as error:
        if getattr(error.orig, "pgcode", None) == _HOUSE_BUSY:
            raise HouseBusy("The house is busy paying others; try again in a moment.") from error
        raise
    remaining = terms.free_remaining - 1 if terms.free else awarded
    return Spun(
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
