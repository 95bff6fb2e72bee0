"""A committed switch, change of a game or freezing is in force: nothing that it forbids is committed later."""

import threading
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from zoneinfo import ZoneInfo

import pytest
from flask.testing import FlaskClient
from sqlalchemy import Connection, Engine, select, text

from neobank.casino import spins
from neobank.casino.configuration import configure
from neobank.casino.games import GAMES
from neobank.casino.spins import GameClosed, SpinResult, retry_spin
from neobank.ledger.models import Account
from neobank.ledger.operations import AccountFrozen, Kind, NewTransfer, ReadOnly, pay_many
from neobank.players import passwords
from tests.service.locks import await_waiting, locked_balance
from tests.service.support import LoggedIn, open_players, transfer

pytestmark = pytest.mark.usefixtures("fresh", "books")

GAME = GAMES["glitch_grid"]
SET_FROZEN = text("SELECT set_frozen(:account, true)")
SET_READ_ONLY = text("UPDATE switches SET read_only = true")
NOW = text("SELECT clock_timestamp()")
PLAYED_SINCE = text("SELECT array_agg(DISTINCT version_id) FROM rounds WHERE created_at > :since")
HELD = text("SELECT balance FROM balances WHERE account_id = :account")
COUNT = text("SELECT (SELECT count(*) FROM transfers WHERE kind <> 'opening_balance'), (SELECT count(*) FROM rounds)")

Pay = Callable[[Connection, tuple[int, str], tuple[int, str]], None]


@pytest.fixture
def players(engine: Engine) -> list[tuple[int, str]]:
    """The id and number of three players, in ascending order of their ids."""
    with engine.begin() as connection:
        open_players(connection, 3)
        listed = connection.execute(select(Account.id, Account.number).where(Account.name.like("Player%")))
        return [(account, number) for account, number in sorted(listed)]


def execute(engine: Engine, statement: object, values: Mapping[str, object] | None = None) -> None:
    with engine.begin() as connection:
        connection.execute(statement, values or {})  # type: ignore[call-overload]


def pay_one(connection: Connection, payer: tuple[int, str], receiver: tuple[int, str]) -> None:
    transfer(connection, payer[0], receiver[1], 100)


def pay_several(connection: Connection, payer: tuple[int, str], receiver: tuple[int, str]) -> None:
    moves = [NewTransfer(receiver[0], payer[0], 1), NewTransfer(payer[0], receiver[0], 100)]
    pay_many(connection, moves, kind=Kind.TRANSFER, memo="", actor=payer[0])


def commit(engine: Engine, pay: Pay, payer: tuple[int, str], receiver: tuple[int, str]) -> None:
    with engine.begin() as connection:
        pay(connection, payer, receiver)


def spin(engine: Engine, player: tuple[int, str], line_bet: int = 1000) -> SpinResult:
    def play(attempt: int) -> SpinResult:
        with engine.begin() as connection:
            return spins.spin(
                connection,
                account_id=player[0],
                account_number=player[1],
                game=GAME,
                line_bet=line_bet,
                zone=ZoneInfo("UTC"),
                attempt=attempt,
            )

    return retry_spin(play)


@pytest.mark.parametrize("pay", [pay_one, pay_several])
def test_a_freezing_waits_for_a_payment_that_has_begun(
    engine: Engine, owner: Engine, players: list[tuple[int, str]], pay: Pay
) -> None:
    payer, receiver, _ = players

    with ThreadPoolExecutor(2) as pool:
        with locked_balance(owner, receiver[1]):
            paying = pool.submit(commit, engine, pay, payer, receiver)
            await_waiting(owner, 1, paying)
            freezing = pool.submit(execute, owner, SET_FROZEN, {"account": payer[0]})
            await_waiting(owner, 2, paying, freezing)
            assert not freezing.done()
        paying.result()
        freezing.result()


@pytest.mark.parametrize("pay", [pay_one, pay_several])
def test_a_payment_that_waits_behind_a_freezing_is_refused(
    engine: Engine, owner: Engine, players: list[tuple[int, str]], pay: Pay
) -> None:
    payer, receiver, _ = players

    with ThreadPoolExecutor(2) as pool:
        with locked_balance(owner, payer[1]):
            freezing = pool.submit(execute, owner, SET_FROZEN, {"account": payer[0]})
            await_waiting(owner, 1, freezing)
            paying = pool.submit(commit, engine, pay, payer, receiver)
            await_waiting(owner, 2, paying, freezing)
        freezing.result()
        with pytest.raises(AccountFrozen):
            paying.result()


def test_a_switch_waits_for_the_payments_that_have_begun(
    engine: Engine, owner: Engine, players: list[tuple[int, str]]
) -> None:
    payer, receiver, _ = players

    with ThreadPoolExecutor(2) as pool:
        with locked_balance(owner, receiver[1]):
            paying = pool.submit(commit, engine, pay_one, payer, receiver)
            await_waiting(owner, 1, paying)
            switching = pool.submit(execute, owner, SET_READ_ONLY)
            await_waiting(owner, 2, paying, switching)
            assert not switching.done()
        paying.result()
        switching.result()


@pytest.mark.parametrize("pay", [pay_one, pay_several])
def test_a_payment_that_waits_behind_a_switch_is_refused(
    engine: Engine, owner: Engine, players: list[tuple[int, str]], pay: Pay
) -> None:
    payer, receiver, _ = players

    with ThreadPoolExecutor(1) as pool:
        with owner.begin() as connection:
            connection.execute(SET_READ_ONLY)
            paying = pool.submit(commit, engine, pay, payer, receiver)
            await_waiting(owner, 1, paying)
        with pytest.raises(ReadOnly):
            paying.result()


@pytest.mark.parametrize(("change", "refusal"), [(SET_READ_ONLY, ReadOnly), (SET_FROZEN, AccountFrozen)])
def test_a_round_that_waits_behind_a_switch_or_a_freezing_is_refused(
    engine: Engine, owner: Engine, players: list[tuple[int, str]], change: object, refusal: type[Exception]
) -> None:
    spin(engine, players[0])
    with ThreadPoolExecutor(1) as pool:
        with owner.begin() as connection:
            connection.execute(change, {"account": players[0][0]})  # type: ignore[call-overload]
            spinning = pool.submit(spin, engine, players[0])
            await_waiting(owner, 1, spinning)
        with pytest.raises(refusal):
            spinning.result()


def test_a_round_in_a_read_only_bank_is_refused_before_its_bet_is_compared_with_the_balance(
    engine: Engine, owner: Engine, players: list[tuple[int, str]]
) -> None:
    player, receiver, _ = players
    spin(engine, player)
    with engine.begin() as connection:
        held = connection.execute(HELD, {"account": player[0]}).scalar_one()
        transfer(connection, player[0], receiver[1], held - 100)
    execute(owner, SET_READ_ONLY)
    with pytest.raises(ReadOnly):
        spin(engine, player)


def test_a_change_of_a_game_waits_for_the_rounds_that_have_begun(
    engine: Engine, owner: Engine, players: list[tuple[int, str]]
) -> None:
    version = spin(engine, players[0]).terms.version

    def close() -> object:
        with owner.begin() as connection:
            return configure(connection, GAME.name, is_enabled=False, dial=9_900, by=players[0][0])

    with ThreadPoolExecutor(2) as pool:
        with locked_balance(owner, players[0][1]):
            spinning = pool.submit(spin, engine, players[0])
            await_waiting(owner, 1, spinning)
            closing = pool.submit(close)
            await_waiting(owner, 2, spinning, closing)
            assert not closing.done()
        assert spinning.result().terms.version == version
        closing.result()


def test_a_round_that_waits_behind_a_change_of_its_game_is_played_at_the_new_dial_or_not_at_all(
    engine: Engine, owner: Engine, players: list[tuple[int, str]]
) -> None:
    spin(engine, players[0])
    with ThreadPoolExecutor(1) as pool:
        with owner.begin() as connection:
            changed = configure(connection, GAME.name, is_enabled=None, dial=9_900, by=players[0][0])
            spinning = pool.submit(spin, engine, players[0])
            await_waiting(owner, 1, spinning)
        assert spinning.result().terms.version == changed.current.id
        with owner.begin() as connection:
            configure(connection, GAME.name, is_enabled=False, dial=None, by=players[0][0])
            spinning = pool.submit(spin, engine, players[0])
            await_waiting(owner, 1, spinning)
        with pytest.raises(GameClosed):
            spinning.result()


def test_no_round_is_played_at_an_old_dial_or_in_a_closed_game_while_players_spin(
    engine: Engine, owner: Engine, players: list[tuple[int, str]]
) -> None:
    finished = threading.Event()

    def play(player: tuple[int, str]) -> int:
        done = 0
        while not finished.is_set():
            try:
                spin(engine, player)
            except GameClosed:
                continue
            done += 1
        return done

    with ThreadPoolExecutor(3) as pool:
        playing = [pool.submit(play, player) for player in players]
        try:
            for dial in range(9_900, 9_910):
                with owner.begin() as connection:
                    changed = configure(connection, GAME.name, is_enabled=True, dial=dial, by=players[0][0])
                with owner.connect() as connection:
                    since = connection.execute(NOW).scalar_one()
                spin(engine, players[0], 10_00)
                with owner.begin() as connection:
                    configure(connection, GAME.name, is_enabled=False, dial=None, by=players[0][0])
                with owner.connect() as connection:
                    assert connection.execute(PLAYED_SINCE, {"since": since}).scalar_one() == [changed.current.id]
                    before = connection.execute(COUNT).one()
                with owner.connect() as connection:
                    assert connection.execute(COUNT).one() == before
        finally:
            finished.set()
        assert all(future.result() >= 0 for future in playing)


def test_a_registration_that_was_admitted_before_registration_closed_is_refused(
    client: FlaskClient, organiser: LoggedIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    def close_and_hash(password: str) -> str:
        assert organiser.administer("PUT", "/switches", registration="closed").status_code == 200
        return password

    monkeypatch.setattr(passwords, "hash_password", close_and_hash)
    answer = client.post("/api/v1/auth/register", json={"character_name": "Neo", "password": "white rabbit"})
    assert answer.status_code == 403
    assert organiser.send("GET", "/players/lookup", name="Neo").status_code == 404
