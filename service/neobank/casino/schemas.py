"""What players send to the casino and are shown of it."""

from datetime import datetime
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, PlainSerializer, StrictBool, WithJsonSchema, create_model

from neobank.casino.configuration import Configuration
from neobank.casino.engine import WinningLine
from neobank.casino.exact import figures
from neobank.casino.fairness import CLIENT_SEED
from neobank.casino.game import Game
from neobank.casino.protection import Limits
from neobank.casino.rounds import Round, sheet_of, strip_set
from neobank.casino.seeds import Revealed, SeedPair
from neobank.casino.spins import SpinResult
from neobank.ledger.operations import MAX_BIGINT
from neobank.web.requests import Amount, Answer, Body, Maybe, Money, Text, Time


def _client_seed(value: str) -> str:
    if not CLIENT_SEED.fullmatch(value):
        raise ValueError("a client seed is 1 to 64 visible ASCII characters without a space.")
    return value


ClientSeed = Annotated[
    Text, AfterValidator(_client_seed), Field(json_schema_extra={"pattern": f"^{CLIENT_SEED.pattern}$"})
]
Percentage = Annotated[
    int,
    PlainSerializer(lambda hundredths: hundredths / 100, return_type=float),
    WithJsonSchema({"type": "number", "description": "per cent"}),
]
"""Hundredths of a per cent inside; a percentage with at most two decimals as it goes out."""


class Bet(Body):
    """What to bet: on the one line of Glitch Grid, on each line of Starlight Smuggler."""

    bet_amount: Amount


def bet_on(game: Game) -> type[Bet]:
    """Give a game's own Bet, which documents what it takes; the spin itself refuses any other."""
    bets = game.bets
    taken = {"type": "number", "minimum": bets.minimum, "maximum": bets.maximum, "multipleOf": bets.step}
    documented = Annotated[Amount, WithJsonSchema(taken | {"description": "¤"})]
    name = game.name.title().replace("_", "")
    return create_model(f"{name}Bet", __base__=Bet, __doc__=Bet.__doc__, bet_amount=(documented, ...))


class Page(Body):
    """Which part of the rounds: at most `limit` of those older than `before`."""

    limit: Annotated[int, Field(ge=1, le=100)] = 10
    before: Annotated[int, Field(ge=1, le=MAX_BIGINT)] = MAX_BIGINT


class NewSeed(Body):
    """The client seed for the next server seed; without one the last stays."""

    client_seed: Maybe[ClientSeed] = None


class LimitsChange(Body):
    """What to change; what is left out stays. A limit is removed by saying so."""

    daily_loss_limit: Maybe[Amount] = None
    remove_daily_loss_limit: Maybe[StrictBool] = None
    self_excluded_until: Maybe[Time] = None


class Line(Answer):
    """A line that won: which of the game's lines, how many of which symbol, bets of a line, and money."""

    line: int
    symbol: str
    count: int
    multiplier: int
    win: Money

    @classmethod
    def of(cls, game: Game, found: WinningLine, line_bet: int) -> Self:
        """Show a winning line."""
        return cls(
            line=found.line,
            symbol=game.symbols[found.symbol],
            count=found.count,
            multiplier=found.award,
            win=found.award * line_bet,
        )


class ReelsSpin(Answer):
    """A round of a game with one row; `round` is its id."""

    reels: list[str]
    bet: Money
    win_multiplier: int
    win_amount: Money
    winning_lines: list[Line]
    balance: Money
    round: int
    net_today: Money

    @classmethod
    def of(cls, spun: SpinResult) -> Self:
        """Show a round that was just played."""
        symbols = spun.terms.game.symbols
        return cls(
            reels=[symbols[code] for code in spun.outcome.grid[0]],
            bet=spun.terms.bet,
            win_multiplier=spun.outcome.award,
            win_amount=spun.win,
            winning_lines=[],
            balance=spun.balance,
            round=spun.round_id,
            net_today=spun.net_today,
        )


class GridSpin(Answer):
    """A round of a game with rows and lines; `round` is its id. A free spin's total_bet is 0."""

    grid: list[list[str]]
    bet_per_line: Money
    total_bet: Money
    win_multiplier: int
    win_amount: Money
    winning_lines: list[Line]
    scatter_count: int
    bonus_spins_awarded: int
    free_spins_remaining: int
    was_free_spin: bool
    balance: Money
    round: int
    net_today: Money

    @classmethod
    def of(cls, spun: SpinResult) -> Self:
        """Show a round that was just played."""
        terms, outcome = spun.terms, spun.outcome
        return cls(
            grid=[[terms.game.symbols[code] for code in row] for row in outcome.grid],
            bet_per_line=terms.line_bet,
            total_bet=terms.bet,
            win_multiplier=outcome.award,
            win_amount=spun.win,
            winning_lines=[Line.of(terms.game, line, terms.line_bet) for line in outcome.winning_lines],
            scatter_count=outcome.scatters,
            bonus_spins_awarded=spun.awarded,
            free_spins_remaining=spun.free_spins_remaining,
            was_free_spin=terms.free,
            balance=spun.balance,
            round=spun.round_id,
            net_today=spun.net_today,
        )


class RoundShown(Answer):
    """All that a round can be computed anew from; `server_seed` once it is retired. docs/fairness.md has the scheme."""

    id: int
    timestamp: datetime
    game: str
    set: Literal["tight", "loose"]
    stops: list[int]
    grid: list[list[str]]
    dial: Percentage
    config_version: int
    sheet: str
    nonce: int
    client_seed: str
    server_seed_hash: str
    server_seed: str | None
    was_free_spin: bool
    bet_per_line: Money
    bet: Money
    win: Money
    win_multiplier: int
    bonus_spins_awarded: int

    @classmethod
    def of(cls, found: Round) -> Self:
        """Show a round."""
        outcome, symbols = found.outcome(), sheet_of(found).symbols
        return cls(
            id=found.id,
            timestamp=found.played_at,
            game=found.game,
            set=strip_set(loose=found.loose),
            stops=list(found.stops),
            grid=[[symbols[code] for code in row] for row in outcome.grid],
            dial=found.dial,
            config_version=found.version,
            sheet=found.sheet,
            nonce=found.nonce,
            client_seed=found.client_seed,
            server_seed_hash=found.server_seed_hash,
            server_seed=found.server_seed.hex() if found.server_seed else None,
            was_free_spin=found.free,
            bet_per_line=found.line_bet,
            bet=found.bet,
            win=found.win,
            win_multiplier=outcome.award,
            bonus_spins_awarded=found.awarded,
        )


class Rounds(Answer):
    """Rounds, newest first; `next` is what to send as `before` for the following page, where there is one."""

    rounds: list[RoundShown]
    next: int | None


class SeedsShown(Answer):
    """The commitments of the seed in use and of the next one, and the client seed and next nonce of the one in use."""

    server_seed_hash: str
    client_seed: str
    nonce: int
    next_server_seed_hash: str

    @classmethod
    def of(cls, pair: SeedPair) -> Self:
        """Show a player's seeds."""
        return cls.model_validate(pair)


class RevealedSeed(Answer):
    """A retired seed: its nonces went from 0 to `rounds` - 1."""

    server_seed: str
    server_seed_hash: str
    client_seed: str
    rounds: int


class Rotated(SeedsShown):
    """The seed that is revealed now, and what is in use from here on."""

    revealed: RevealedSeed

    @classmethod
    def after(cls, old: Revealed) -> Self:
        """Show what a rotation revealed."""
        return cls(
            server_seed_hash=old.now.server_seed_hash,
            client_seed=old.now.client_seed,
            nonce=old.now.nonce,
            next_server_seed_hash=old.now.next_server_seed_hash,
            revealed=RevealedSeed(
                server_seed=old.server_seed.hex(),
                server_seed_hash=old.server_seed_hash,
                client_seed=old.client_seed,
                rounds=old.rounds,
            ),
        )


class Dial(Answer):
    """A payout percentage that a game had from a moment on."""

    version: int
    payout_percentage: Percentage
    since: datetime


class BetRange(Answer):
    """What may be bet on a line."""

    minimum: Money
    maximum: Money
    step: Money


class GameShown(Answer):
    """A game: what it shows and pays, its lines (the row on each reel), its exact return in per cent and as a fraction.

    `paytable` gives, for each symbol, the award of a run of 1, 2, … in bets of a line.
    """

    game_name: str
    is_open: bool
    symbols: list[str]
    wild: str | None
    scatter: str | None
    rows: int
    reels: int
    lines: list[list[int]]
    paytable: dict[str, list[int]]
    bets: BetRange
    payout_percentage: Percentage
    config_version: int
    versions: list[Dial]
    exact_return: str
    hit_frequency: float
    free_spins_chance: float
    largest_win: int
    sheet: str

    @classmethod
    def of(cls, found: Configuration) -> Self:
        """Show a game."""
        game, exact = found.game, figures(found.game, found.current.dial)
        shown = game.symbols
        return cls(
            game_name=game.name,
            is_open=found.is_enabled,
            symbols=list(shown.values()),
            wild=shown[game.wild] if game.wild else None,
            scatter=shown[game.scatter.symbol] if game.scatter else None,
            rows=game.rows,
            reels=game.reels,
            lines=[[int(row) for row in line] for line in game.lines],
            paytable={shown[code]: list(awards) for code, awards in game.awards.items()},
            bets=BetRange(minimum=game.bets.minimum * 100, maximum=game.bets.maximum * 100, step=game.bets.step * 100),
            payout_percentage=found.current.dial,
            config_version=found.current.id,
            versions=[Dial(version=one.id, payout_percentage=one.dial, since=one.since) for one in found.versions],
            exact_return=str(exact.returned),
            hit_frequency=float(exact.hits),
            free_spins_chance=float(exact.free_spins),
            largest_win=exact.largest,
            sheet=game.sheet,
        )


class Games(Answer):
    """All games."""

    games: list[GameShown]


class LimitsShown(Answer):
    """How the caller is protected. A pending limit holds from `pending_from` on; null there is no limit at all."""

    daily_loss_limit: Money | None
    self_excluded_until: datetime | None
    net_today: Money
    day_ends: datetime
    pending_daily_loss_limit: Money | None
    pending_from: datetime | None

    @classmethod
    def of(cls, found: Limits, net_today: int, day_ends: datetime) -> Self:
        """Show a player's limits."""
        return cls(
            daily_loss_limit=found.limit,
            self_excluded_until=found.excluded_until,
            net_today=net_today,
            day_ends=day_ends,
            pending_daily_loss_limit=found.pending_limit if found.pending else None,
            pending_from=found.pending_from if found.pending else None,
        )
