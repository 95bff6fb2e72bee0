"""The operations of clients, as calls of the core and as HTTP requests: payments and spins."""

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
    """A player with an account, money and a session."""

    account_id: int
    number: str
    token: str


@dataclass(frozen=True, slots=True)
class Request:
    """A POST request, and the status of a successful response."""

    path: str
    sender: Player
    body: dict[str, object]
    status: HTTPStatus

    def encode(self) -> bytes:
        """Return the bytes of the request."""
        body = json.dumps(self.body)
        head = (
            f"POST /api/v1{self.path} HTTP/1.1\r\nHost: bank\r\nContent-Type: application/json\r\n"
            f"Authorization: Bearer {self.sender.token}\r\nContent-Length: {len(body)}\r\n\r\n"
        )
        return (head + body).encode()


class Traffic(Protocol):
    """An operation that is repeated with random players."""

    def execute(self, connection: Connection, chance: random.Random) -> None:
        """Execute the operation once as the service does, but without HTTP."""

    def draw(self, chance: random.Random) -> Request:
        """Return a request for the operation."""


@dataclass(frozen=True, slots=True)
class Payments:
    """A random payer pays one hundredth to a random receiver."""

    payers: tuple[Player, ...]
    receivers: tuple[Player, ...]

    def execute(self, connection: Connection, chance: random.Random) -> None:
        """Execute a payment in the core."""
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
        """Return a request for a payment."""
        payer, receiver = self._pair(chance)
        body: dict[str, object] = {"to_account": receiver.number, "amount": 0.01, "memo": MEMO}
        return Request("/transactions", payer, body, HTTPStatus.CREATED)

    def _pair(self, chance: random.Random) -> tuple[Player, Player]:
        payer, receiver = chance.choice(self.payers), chance.choice(self.receivers)
        return (payer, receiver) if payer is not receiver else self._pair(chance)


@dataclass(frozen=True, slots=True)
class Spins:
    """A random player plays a round of a random game, at the smallest bet."""

    players: tuple[Player, ...]

    def execute(self, connection: Connection, chance: random.Random) -> None:
        """Execute a spin in the core."""
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
        """Return a request for a spin."""
        player, game = chance.choice(self.players), chance.choice(tuple(GAMES.values()))
        return Request(f"/casino/{game.path_name}/spin", player, {"bet_amount": game.bets.minimum}, HTTPStatus.OK)
