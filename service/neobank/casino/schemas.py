"""The bodies of the casino's requests and responses."""

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
        raise ValueError("a client seed must have 1 to 64 visible ASCII characters and no space.")
    return value


ClientSeed = Annotated[
    Text, AfterValidator(_client_seed), Field(json_schema_extra={"pattern": f"^{CLIENT_SEED.pattern}$"})
]
Percentage = Annotated[
    int,
    PlainSerializer(lambda hundredths: hundredths / 100, return_type=float),
    WithJsonSchema({"type": "number", "description": "per cent"}),
]
"""Hundredths of a per cent in Python; a percentage with at most two decimals in JSON."""


class Bet(Body):
    """The bet: on the one line of Glitch Grid, or on each line of Starlight Smuggler."""

    bet_amount: Amount


def bet_on(game: Game) -> type[Bet]:
    """Return a Bet whose JSON schema documents the game's bets. `spin` itself rejects any other bet."""
    bets = game.bets
    allowed = {"type": "number", "minimum": bets.minimum, "maximum": bets.maximum, "multipleOf": bets.step}
    documented = Annotated[Amount, WithJsonSchema(allowed | {"description": "¤"})]
    name = game.name.title().replace("_", "")
    return create_model(f"{name}Bet", __base__=Bet, __doc__=Bet.__doc__, bet_amount=(documented, ...))


class Page(Body):
    """A page of rounds: at most `limit`, all older than the round `before`."""

    limit: Annotated[int, Field(ge=1, le=100)] = 10
    before: Annotated[int, Field(ge=1, le=MAX_BIGINT)] = MAX_BIGINT


class NewSeed(Body):
    """The client seed to use with the next server seed; if omitted, the previous one is used again."""

    client_seed: Maybe[ClientSeed] = None


class LimitsChange(Body):
    """The limits to change; omitted fields stay unchanged. Set remove_daily_loss_limit to remove the limit."""

    daily_loss_limit: Maybe[Amount] = None
    remove_daily_loss_limit: Maybe[StrictBool] = None
    self_excluded_until: Maybe[Time] = None


class Line(Answer):
    """A winning line: its index in the game's lines, the symbol, the length of the run, the multiplier and the win."""

    line: int
    symbol: str
    count: int
    multiplier: int
    win: Money

    @classmethod
    def of(cls, game: Game, winning: WinningLine, line_bet: int) -> Self:
        """Convert a winning line; `line_bet` is in hundredths."""
        return cls(
            line=winning.line,
            symbol=game.symbols[winning.symbol],
            count=winning.count,
            multiplier=winning.award,
            win=winning.award * line_bet,
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
    def of(cls, result: SpinResult) -> Self:
        """Convert a round that was just played."""
        symbols = result.terms.game.symbols
        return cls(
            reels=[symbols[code] for code in result.outcome.grid[0]],
            bet=result.terms.bet,
            win_multiplier=result.outcome.award,
            win_amount=result.win,
            winning_lines=[],
            balance=result.balance,
            round=result.round_id,
            net_today=result.net_today,
        )


class GridSpin(Answer):
    """A round of a game with several rows and lines; `round` is its id. The total_bet of a free spin is 0."""

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
    def of(cls, result: SpinResult) -> Self:
        """Convert a round that was just played."""
        terms, outcome = result.terms, result.outcome
        return cls(
            grid=[[terms.game.symbols[code] for code in row] for row in outcome.grid],
            bet_per_line=terms.line_bet,
            total_bet=terms.bet,
            win_multiplier=outcome.award,
            win_amount=result.win,
            winning_lines=[Line.of(terms.game, line, terms.line_bet) for line in outcome.winning_lines],
            scatter_count=outcome.scatters,
            bonus_spins_awarded=result.awarded,
            free_spins_remaining=result.free_spins_remaining,
            was_free_spin=terms.free,
            balance=result.balance,
            round=result.round_id,
            net_today=result.net_today,
        )


class RoundShown(Answer):
    """A round, with everything needed to recompute it (see docs/fairness.md); `server_seed` is null until revealed."""

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
    def of(cls, played: Round) -> Self:
        """Convert a round."""
        outcome, symbols = played.outcome(), sheet_of(played).symbols
        return cls(
            id=played.id,
            timestamp=played.played_at,
            game=played.game,
            set=strip_set(loose=played.loose),
            stops=list(played.stops),
            grid=[[symbols[code] for code in row] for row in outcome.grid],
            dial=played.dial,
            config_version=played.version,
            sheet=played.sheet,
            nonce=played.nonce,
            client_seed=played.client_seed,
            server_seed_hash=played.server_seed_hash,
            server_seed=played.server_seed.hex() if played.server_seed else None,
            was_free_spin=played.free,
            bet_per_line=played.line_bet,
            bet=played.bet,
            win=played.win,
            win_multiplier=outcome.award,
            bonus_spins_awarded=played.awarded,
        )


class Rounds(Answer):
    """A page of rounds, newest first; send `next` as `before` to get the next page. It is null on the last page."""

    rounds: list[RoundShown]
    next: int | None


class SeedsShown(Answer):
    """The commitments of the seed in use and of the next seed; the client seed and next nonce of the seed in use."""

    server_seed_hash: str
    client_seed: str
    nonce: int
    next_server_seed_hash: str

    @classmethod
    def of(cls, pair: SeedPair) -> Self:
        """Convert a player's seeds."""
        return cls.model_validate(pair)


class RevealedSeed(Answer):
    """A retired seed. The nonces of its rounds are 0 to `rounds` - 1."""

    server_seed: str
    server_seed_hash: str
    client_seed: str
    rounds: int


class Rotated(SeedsShown):
    """The seed that this rotation revealed, and the seeds in use from now on."""

    revealed: RevealedSeed

    @classmethod
    def after(cls, old: Revealed) -> Self:
        """Convert the result of a rotation."""
        return cls(
            server_seed_hash=old.current.server_seed_hash,
            client_seed=old.current.client_seed,
            nonce=old.current.nonce,
            next_server_seed_hash=old.current.next_server_seed_hash,
            revealed=RevealedSeed(
                server_seed=old.server_seed.hex(),
                server_seed_hash=old.server_seed_hash,
                client_seed=old.client_seed,
                rounds=old.rounds,
            ),
        )


class Dial(Answer):
    """A version of a game's payout percentage, in force since a time."""

    version: int
    payout_percentage: Percentage
    since: datetime


class BetRange(Answer):
    """The allowed bets per line."""

    minimum: Money
    maximum: Money
    step: Money


class GameShown(Answer):
    """A game: its symbols, lines (the row on each reel), bets, versions of the dial, and exact return as a fraction.

    `paytable` contains, for each symbol, the awards of runs of 1, 2, … cells as multiples of the bet per line.
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
    def of(cls, configuration: Configuration) -> Self:
        """Convert a game's configuration."""
        game, current = configuration.game, configuration.current
        exact, symbols = figures(game, current.dial), game.symbols
        return cls(
            game_name=game.name,
            is_open=configuration.is_enabled,
            symbols=list(symbols.values()),
            wild=symbols[game.wild] if game.wild else None,
            scatter=symbols[game.scatter.symbol] if game.scatter else None,
            rows=game.rows,
            reels=game.reels,
            lines=[[int(row) for row in line] for line in game.lines],
            paytable={symbols[code]: list(awards) for code, awards in game.awards.items()},
            bets=BetRange(minimum=game.bets.minimum * 100, maximum=game.bets.maximum * 100, step=game.bets.step * 100),
            payout_percentage=current.dial,
            config_version=current.id,
            versions=[
                Dial(version=version.id, payout_percentage=version.dial, since=version.since)
                for version in configuration.versions
            ],
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
    """The caller's limits. From `pending_from` on, the pending limit is in force; if it is null then, there is none."""

    daily_loss_limit: Money | None
    self_excluded_until: datetime | None
    net_today: Money
    day_ends: datetime
    pending_daily_loss_limit: Money | None
    pending_from: datetime | None

    @classmethod
    def of(cls, limits: Limits, net_today: int, day_ends: datetime) -> Self:
        """Convert a player's limits; `net_today` is in hundredths."""
        return cls(
            daily_loss_limit=limits.limit,
            self_excluded_until=limits.excluded_until,
            net_today=net_today,
            day_ends=day_ends,
            pending_daily_loss_limit=limits.pending_limit if limits.pending else None,
            pending_from=limits.pending_from if limits.pending else None,
        )
