"""A process that spins and rotates seeds on a few accounts concurrently with others; only a BankError may refuse it."""

import random
from collections import Counter
from contextlib import nullcontext
from dataclasses import dataclass, field
from zoneinfo import ZoneInfo

from sqlalchemy import URL, Engine

from neobank.casino import seeds
from neobank.casino.games import GAMES
from neobank.casino.spins import SpinResult, retry_spin, spin
from neobank.database import connect, transaction
from neobank.errors import BankError

ZONE = ZoneInfo("UTC")


@dataclass(frozen=True)
class Table:
    """The database, and the ids and numbers of the players' accounts."""

    url: URL
    accounts: tuple[tuple[int, str], ...]


@dataclass
class Played:
    """The results of one process: each round as the bank reported it, and how the operations ended."""

    rounds: dict[int, tuple[int, int, int]] = field(default_factory=dict)
    """Account, bet and win by the round's id."""
    outcomes: Counter[str] = field(default_factory=Counter)


def play(table: Table, seed: int, operations: int) -> Played:
    """Run one process's operations."""
    chance = random.Random(seed)  # noqa: S311  # a fixed seed repeats the run
    engine = connect(table.url, single_statements=True)
    played = Played()
    for _ in range(operations):
        account, number = chance.choice(table.accounts)
        try:
            if chance.random() < 0.06:
                with engine.connect() as connection, transaction(connection):
                    seeds.rotate(connection, account, number, f"seed-{chance.random()}")
                played.outcomes["rotated"] += 1
            else:
                spin_once(engine, account, number, chance, played)
        except BankError as refused:
            played.outcomes[type(refused).__name__] += 1
    engine.dispose()
    return played


def spin_once(engine: Engine, account: int, number: str, chance: random.Random, played: Played) -> None:
    game = chance.choice([*GAMES.values()])
    line_bet = chance.choice([game.bets.minimum, game.bets.step * 10, game.bets.maximum]) * 100
    in_transaction = transaction if chance.random() < 0.5 else nullcontext  # as with an Idempotency-Key, and without

    def play_once(attempt: int) -> SpinResult:
        played.outcomes[f"attempt {attempt}"] += 1
        with engine.connect() as connection, in_transaction(connection):
            return spin(
                connection,
                account_id=account,
                account_number=number,
                game=game,
                line_bet=line_bet,
                zone=ZONE,
                attempt=attempt,
            )

    spun = retry_spin(play_once)
    assert spun.round_id not in played.rounds
    played.rounds[spun.round_id] = (account, spun.terms.bet, spun.win)
    played.outcomes["free" if spun.terms.free else "paid"] += 1
