"""What clients do, whether they call the core or send requests: pay one another, or play."""

import json
import random
from dataclasses import dataclass
from http import HTTPStatus
from typing import Final, Protocol
from zoneinfo import ZoneInfo

from sqlalchemy import Connection

from neobank.casino.games import GAMES
from neobank.casino.spins import retry_spin, spin
from neobank.ledger.operations import Kind, pay

MEMO: Final = "for the call"
_ZONE: Final = ZoneInfo("UTC")


@dataclass(frozen=True, slots=True)
class Player:
    """Somebody with an account, money and a session."""

    account_id: int
    number: str
    token: str


@dataclass(frozen=True, slots=True)
class Request:
    """A POST, and the status of a good answer."""

    path: str
    sender: Player
    body: dict[str, object]
    status: HTTPStatus

    def encode(self) -> bytes:
        """Give it as it is sent."""
        body = json.dumps(self.body)
        head = (
            f"POST /api/v1{self.path} HTTP/1.1\r\nHost: bank\r\nContent-Type: application/json\r\n"
            f"Authorization: Bearer {self.sender.token}\r\nContent-Length: {len(body)}\r\n\r\n"
        )
        return (head + body).encode()


class Traffic(Protocol):
    """What is done over and over, each time drawn anew."""

    def act(self, connection: Connection, chance: random.Random) -> None:
        """Do it once, as the service does it, with no web in between."""

    def draw(self, chance: random.Random) -> Request:
        """Draw the request that does it once."""


@dataclass(frozen=True, slots=True)
class Payments:
    """Any of the payers pays any of the receivers one hundredth."""

    payers: tuple[Player, ...]
    receivers: tuple[Player, ...]

    def act(self, connection: Connection, chance: random.Random) -> None:
        """Pay."""
        payer, receiver = self._pair(chance)
        pay(
            connection,
            debit=payer.account_id,
            credit_number=receiver.number,
            amount=1,
            kind=Kind.TRANSFER,
            memo=MEMO,
            actor=payer.account_id,
        )

    def draw(self, chance: random.Random) -> Request:
        """Draw a payment."""
        payer, receiver = self._pair(chance)
        body: dict[str, object] = {"to_account": receiver.number, "amount": 0.01, "memo": MEMO}
        return Request("/transactions", payer, body, HTTPStatus.CREATED)

    def _pair(self, chance: random.Random) -> tuple[Player, Player]:
        payer, receiver = chance.choice(self.payers), chance.choice(self.receivers)
        return (payer, receiver) if payer is not receiver else self._pair(chance)


@dataclass(frozen=True, slots=True)
class Spins:
    """Any of the players plays a round of either game, at the smallest bet."""

    players: tuple[Player, ...]

    def act(self, connection: Connection, chance: random.Random) -> None:
        """Play."""
        player, game = chance.choice(self.players), chance.choice(tuple(GAMES.values()))

        def play_once(attempt: int) -> None:
            spin(
                connection,
                account_id=player.account_id,
                account_number=player.number,
                game=game,
                line_bet=game.bets.minimum * 100,
                zone=_ZONE,
                attempt=attempt,
            )

        retry_spin(play_once)

    def draw(self, chance: random.Random) -> Request:
        """Draw a spin."""
        player, game = chance.choice(self.players), chance.choice(tuple(GAMES.values()))
        return Request(f"/casino/{game.path_name}/spin", player, {"bet_amount": game.bets.minimum}, HTTPStatus.OK)
