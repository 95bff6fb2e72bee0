"""Whether a spin is rejected does not depend on its outcome.

Every outcome of a game is settled in a transaction that is rolled back, once with just enough money and once with a
hundredth less. All outcomes get the same decision, so rejected and accepted bets have the same chance of winning.
"""

from collections.abc import Iterator
from dataclasses import replace
from itertools import product
from typing import NoReturn
from zoneinfo import ZoneInfo

import pytest
from sqlalchemy import Connection, Engine, text

from neobank.casino import spins
from neobank.casino.engine import Outcome
from neobank.casino.exact import distribution, largest_award
from neobank.casino.fairness import Drawn
from neobank.casino.game import Game
from neobank.casino.games import GAMES
from neobank.casino.protection import Excluded, LimitReached
from neobank.casino.seeds import ensure_seeds
from neobank.casino.spins import GameClosed, HouseBusy, HouseCannotPay, Terms, retry_spin
from neobank.errors import BankError
from neobank.ledger.models import HOUSE_ID
from neobank.ledger.operations import BalanceLimit, InsufficientFunds
from tests.service.support import open_players

SHARDS = 32
FULL = 999_999_999_999_999
DAY = text("SELECT current_date")
HOLD = text(
    "UPDATE balances SET balance = given.amount"
    " FROM unnest(CAST(:amounts AS bigint[])) WITH ORDINALITY AS given (amount, place)"
    " WHERE account_id = :account AND shard = given.place - 1"
)
HELD = text("SELECT balance FROM balances WHERE account_id = :account ORDER BY shard")
Refusal = type[BankError] | None


def on_one(total: int) -> list[int]:
    return [0] * (SHARDS - 1) + [total]


def spread_thin(total: int) -> list[int]:
    """Distribute an amount so that no shard has enough alone, but all of them together have."""
    return [total // SHARDS + (shard < total % SHARDS) for shard in range(SHARDS)]


@pytest.fixture
def gamblers(owner: Engine, fresh: object) -> list[int]:
    del fresh
    with owner.begin() as connection:
        accounts = open_players(connection, 2)
        for account in accounts:
            ensure_seeds(connection, account, "NC-GAMB-0001")
    return accounts


@pytest.fixture
def gambler(gamblers: list[int]) -> int:
    return gamblers[0]


def outcomes(game: Game) -> Iterator[Outcome]:
    """Yield every combination of total award and free spins that the game has."""
    for award, triggers in sorted(set().union(*(distribution(game, loose=loose) for loose in (False, True)))):
        yield Outcome((), (), award, 0, triggers)


def settle(connection: Connection, account: int, terms: Terms, outcome: Outcome, attempt: int) -> None:
    values: dict[str, object] = {"account": account, "game": terms.game.name}
    seen = connection.execute(spins._READ_INPUTS, values).one()
    values |= {
        "row_version": seen.row_version,
        "nonce": seen.nonce,
        "day": connection.execute(DAY).scalar_one(),
        "attempt": attempt,
    }
    terms = replace(terms, version=seen.version_id)
    spins._settle(connection, values, terms, Drawn(loose=False, stops=(0,) * terms.game.reels), outcome)


def decisions(owner: Engine, account: int, terms: Terms, held: int, house: list[int]) -> set[Refusal]:
    """Settle every outcome with these balances; return the errors that rejected them, and None if one was settled."""

    def decide(outcome: Outcome) -> Refusal:
        def play_once(attempt: int) -> None:
            with owner.connect() as connection, connection.begin() as under_way:
                for holder, amounts in ((account, [held]), (HOUSE_ID, house)):
                    connection.execute(HOLD, {"account": holder, "amounts": amounts})
                settle(connection, account, terms, outcome, attempt)
                under_way.rollback()

        try:
            retry_spin(play_once)
        except BankError as refused:
            return type(refused)
        return None

    return {decide(outcome) for outcome in outcomes(terms.game)}


@pytest.mark.parametrize("free", [False, True], ids=["paid", "free"])
@pytest.mark.parametrize("game", GAMES.values(), ids=lambda game: game.name)
def test_the_outcome_does_not_decide_whether_there_is_enough_money(
    owner: Engine, gambler: int, game: Game, *, free: bool
) -> None:
    if free and not game.free_spins_awarded:
        return
    terms = Terms(game, 1, 10_200, game.bets.minimum * 100, free=free, free_remaining=5 if free else 0)
    if free:
        with owner.begin() as connection:
            give_free_spins(connection, gambler, terms)
    largest = largest_award(game) * terms.line_bet
    need, rich = largest - terms.bet, FULL // SHARDS
    for spread, missing in product((on_one, spread_thin), (0, 1)):
        assert decisions(owner, gambler, terms, 100_000, spread(need - missing)) == {
            HouseCannotPay if missing else None
        }
    fits: dict[int, Refusal] = {terms.bet: None, FULL - largest + terms.bet: None}
    fits |= {FULL - largest + terms.bet + 1: BalanceLimit} | ({} if free else {terms.bet - 1: InsufficientFunds})
    for held, refusal in fits.items():
        assert decisions(owner, gambler, terms, held, spread_thin(rich)) == {refusal}, held


def give_free_spins(connection: Connection, account: int, terms: Terms) -> None:
    awarding = Outcome((), (), 0, 3, triggers=True)
    connection.execute(HOLD, {"account": HOUSE_ID, "amounts": [FULL // SHARDS]})
    settle(connection, account, replace(terms, free=False), awarding, 1)


def test_limits_exclusion_and_closure_reject_a_spin_before_its_outcome_is_drawn(
    owner: Engine, gambler: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    def drawn(*_: object) -> NoReturn:
        raise AssertionError("an outcome was drawn")

    monkeypatch.setattr(spins, "draw_round", drawn)
    for statement, refusal in {
        "UPDATE casino_players SET daily_loss_limit = 999": LimitReached,
        "UPDATE casino_players SET excluded_until = now() + interval '1 minute'": Excluded,
        "UPDATE games SET is_enabled = false": GameClosed,
    }.items():
        with owner.connect() as connection, connection.begin() as under_way:
            connection.execute(text(statement))
            with pytest.raises(refusal):
                spins.spin(
                    connection,
                    account_id=gambler,
                    account_number="NC-GAMB-0001",
                    game=GAMES["glitch_grid"],
                    line_bet=1000,
                    zone=ZoneInfo("UTC"),
                    attempt=1,
                )
            under_way.rollback()


def test_money_on_one_shard_is_distributed_when_two_spins_need_it(owner: Engine, gamblers: list[int]) -> None:
    gambler, other = gamblers
    terms = Terms(GAMES["glitch_grid"], 1, 10_200, 1000, free=False, free_remaining=0)
    lost, total = Outcome((), (), 0, 0, triggers=False), 32 * largest_award(terms.game) * terms.line_bet
    with owner.begin() as connection:
        for holder, amounts in ((gambler, [5000]), (other, [5000]), (HOUSE_ID, on_one(total))):
            connection.execute(HOLD, {"account": holder, "amounts": amounts})
    with owner.connect() as connection, connection.begin():
        settle(connection, gambler, terms, lost, 1)
        with owner.connect() as waiting:
            for attempt in (1, 2):
                with waiting.begin() as under_way:
                    waiting.execute(text("SET LOCAL lock_timeout = '1s'"))
                    with pytest.raises(HouseBusy):
                        settle(waiting, other, terms, lost, attempt)
                    under_way.rollback()
    with owner.begin() as connection:
        settle(connection, other, terms, lost, 3)
    with owner.connect() as connection:
        held = connection.execute(HELD, {"account": HOUSE_ID}).scalars().all()
        settle(connection, gambler, terms, lost, 2)
    assert sum(held) == total + 2 * terms.bet
    assert max(held) - min(held) <= 1
