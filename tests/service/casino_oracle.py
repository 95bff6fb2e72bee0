"""A model of the casino in plain Python; rounds are computed by the verifier of docs/fairness.md.

Each operation returns the status that the bank must respond with. The model changes after the bank has confirmed.
Amounts are in hundredths, dials in hundredths of a per cent.
"""

from dataclasses import dataclass, field
from datetime import datetime, timedelta

from tests.service.nb1 import Result, Shown, play

DAY = timedelta(hours=24)
LARGEST = {"glitch_grid": 100, "starlight_smuggler": 290}
"""The largest win in line bets."""


@dataclass
class Game:
    sheet: Shown
    version: int
    dial: int
    is_open: bool

    @property
    def lines(self) -> int:
        return len(self.sheet["lines"])

    def takes(self, line_bet: int) -> bool:
        low, high, step = (self.sheet["bets"][name] * 100 for name in ("minimum", "maximum", "step"))
        return line_bet in range(low, high + 1, step)


@dataclass(frozen=True)
class Terms:
    """The terms of a round."""

    line_bet: int
    dial: int
    version: int
    free: bool = False


@dataclass
class Gambler:
    """The state of a player in the casino."""

    balance: int
    seed: bytes
    next_seed: bytes
    client_seed: str
    nonce: int = 0
    waiting: int = 0
    """Remaining free spins."""
    stored: Terms | None = None
    net_today: int = 0
    limit: int | None = None
    raised: tuple[int | None, datetime] | None = None
    """The pending limit, and when it takes effect."""
    excluded_until: datetime | None = None
    frozen: bool = False

    def limit_at(self, now: datetime) -> int | None:
        return self.raised[0] if self.raised and self.raised[1] <= now else self.limit

    def set_limit(self, limit: int | None, now: datetime) -> None:
        if self.raised and self.raised[1] > now and self.raised[0] == limit:
            return
        in_force = self.limit_at(now)
        if in_force is None or (limit is not None and limit <= in_force):
            self.limit, self.raised = limit, None
        else:
            self.limit, self.raised = in_force, (limit, now + DAY)

    def exclude(self, until: datetime, now: datetime) -> int:
        if not now < until <= now + timedelta(days=366):
            return 400
        if self.excluded_until and until < self.excluded_until:
            return 400
        self.excluded_until = until
        return 200

    def a_day_passes(self) -> None:
        """Let a day pass: move each stored time a day back."""
        self.net_today = 0
        if self.raised:
            self.raised = (self.raised[0], self.raised[1] - DAY)
        if self.excluded_until:
            self.excluded_until -= DAY


@dataclass
class Casino:
    """The house, the games by name and the players by number."""

    house: int
    games: dict[str, Game]
    players: dict[str, Gambler] = field(default_factory=dict)
    read_only: bool = False
    rounds: int = 0

    def terms(self, number: str, name: str, line_bet: int) -> Terms:
        player, game = self.players[number], self.games[name]
        if name == "starlight_smuggler" and player.waiting and player.stored:
            return player.stored
        return Terms(line_bet, game.dial, game.version)

    def coming(self, number: str, name: str, terms: Terms) -> Result:
        """Compute the next round. Its outcome does not decide whether it may be played."""
        player = self.players[number]
        return play(self.games[name].sheet, player.seed, player.client_seed, player.nonce, terms.dial)

    def may_spin(self, number: str, name: str, line_bet: int, now: datetime) -> int:  # noqa: PLR0911
        player, game = self.players[number], self.games[name]
        if player.frozen:
            return 401
        if not game.takes(line_bet) or not game.is_open:
            return 400
        if player.excluded_until and player.excluded_until > now:
            return 403
        terms = self.terms(number, name, line_bet)
        bet = 0 if terms.free else terms.line_bet * game.lines
        limit = player.limit_at(now)
        if bet and limit is not None and player.net_today + bet > limit:
            return 403
        if self.read_only:
            return 403
        if player.balance < bet:
            return 400
        return 409 if self.house < LARGEST[name] * terms.line_bet - bet else 200

    def spin(self, number: str, name: str, terms: Terms) -> Result:
        """Play the next round."""
        player, game, result = self.players[number], self.games[name], self.coming(number, name, terms)
        bet = 0 if terms.free else terms.line_bet * game.lines
        lost = bet - result.award * terms.line_bet
        player.balance -= lost
        self.house += lost
        player.net_today += lost
        player.nonce += 1
        self.rounds += 1
        if terms.free:
            player.waiting -= 1
        elif result.triggers:
            player.waiting, player.stored = 5, Terms(terms.line_bet, terms.dial, terms.version, free=True)
        return result
