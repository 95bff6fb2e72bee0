"""Any sequence of casino operations produces the same rounds and balances as the model in plain Python.

The model reads the seeds from the database and computes every round before it is played. A day passes by moving all
stored times back by a day.
"""

import hashlib
import itertools
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import cast
from zoneinfo import ZoneInfo

import pytest
from flask import Flask
from hypothesis import HealthCheck
from hypothesis import settings as how_long
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    consumes,
    initialize,
    invariant,
    multiple,
    rule,
    run_state_machine_as_test,
)
from sqlalchemy import Engine, text
from werkzeug.test import TestResponse

from neobank.casino.games import GAMES
from neobank.ledger.models import HOUSE_NUMBER
from neobank.players.operations import register
from neobank.settings import ServingSettings
from tests.service import nb1
from tests.service.casino_oracle import Casino, Gambler, Game, Terms
from tests.service.gambling import house, rig
from tests.service.support import Books, LoggedIn, open_session

pytestmark = pytest.mark.usefixtures("fair")

GLITCH, STARLIGHT = "glitch_grid", "starlight_smuggler"
LUCKY = "lucky"
"""The client seed of a player whose server seed awards free spins in its first round."""

SEEDS = text(
    "SELECT seeds.server_seed, next.server_seed FROM casino_players AS player"
    " JOIN seeds ON seeds.id = player.seed_id JOIN seeds AS next ON next.id = player.next_seed_id"
    " WHERE player.account_id = :account"
)
A_DAY_PASSES = text(
    "UPDATE casino_players SET day = day - 1, pending_from = pending_from - interval '1 day',"
    " excluded_until = excluded_until - interval '1 day'"
)
ROUNDS = text("SELECT count(*) FROM rounds")
KEPT = text("SELECT count(*) FROM idempotency_records WHERE answer IS NULL")

Bet = Callable[[Mapping[str, int]], int]

BETS: list[Bet] = [
    *[lambda bets: bets["minimum"]] * 4,
    lambda bets: bets["minimum"] + bets["step"],
    lambda bets: bets["maximum"],
    lambda bets: bets["minimum"] + 1,
]
"""The bets per line; the last one is invalid, the one before it the largest."""

names = itertools.count()
limits = st.sampled_from([100, 4_500, 20_000, 1_000_000])
hours = st.sampled_from([-1, 1, 12, 30, 30, 24 * 367])


@dataclass(frozen=True)
class Keyed:
    """A spin with an idempotency key, and its response: None if it was rejected.

    Rejected spins are kept too, because Hypothesis has to be able to draw the same choices when it repeats an example.
    """

    player: str
    path: str
    bet: int
    key: dict[str, str]
    answer: object | None


@cache
def lucky_seed(dial: int) -> bytes:
    """Return a server seed whose first round awards free spins."""
    for number in range(100_000):
        if nb1.play(sheet(STARLIGHT), number.to_bytes(32), LUCKY, 0, dial).triggers:
            return number.to_bytes(32)
    raise AssertionError("no such seed")


@cache
def sheet(name: str) -> nb1.Shown:
    return cast("nb1.Shown", json.loads(GAMES[name].canonical))


class CasinoMachine(RuleBasedStateMachine):
    """The application's routes and the model. Examples share a database; each has its own players."""

    players = Bundle("players")
    keyed = Bundle("keyed")
    games = st.sampled_from([GLITCH, STARLIGHT])
    bets = st.lists(st.tuples(games, st.sampled_from(BETS)), min_size=1, max_size=8)

    def __init__(self, app: Flask, owner: Engine, organiser: LoggedIn) -> None:
        super().__init__()
        self.app, self.owner, self.organiser = app, owner, organiser
        self.reached: set[str] = set()
        self.client = app.test_client()
        self.ids: dict[str, int] = {}
        self.tokens: dict[str, dict[str, str]] = {}
        listed = self.organiser.administer("GET", "/casino/config").get_json()["games"]
        games = {
            it["game_name"]: Game(
                sheet(it["game_name"]), it["config_version"], nb1.hundredths(it["payout_percentage"]), it["is_enabled"]
            )
            for it in listed
        }
        self.oracle = Casino(house(owner), games)
        self.rounds_before = self.count(ROUNDS)

    @initialize(target=players)
    def open(self) -> object:
        return multiple(self.join(), self.join())

    def join(self) -> str:
        with self.owner.begin() as connection:
            opened = register(connection, name=f"Gambler {next(names)}", password_hash="none", faction=None)
        number = opened.account_number
        self.ids[number] = opened.account_id
        self.log_in(number)
        shown = self.send(number, "GET", "/casino/seed").get_json()
        current, following = self.seeds(number)
        self.oracle.players[number] = Gambler(100_000, current, following, shown["client_seed"])
        return number

    @rule(target=keyed, player=players, bets=bets, with_key=st.booleans())
    def spin(self, player: str, bets: list[tuple[str, Bet]], *, with_key: bool) -> object:
        spun = [self.spin_once(player, game, bet, with_key=with_key) for game, bet in bets]
        return multiple(*spun if with_key else ())

    def spin_once(self, player: str, game: str, bet: Bet, *, with_key: bool) -> Keyed:
        line_bet = bet(sheet(game)["bets"])
        wanted = self.oracle.may_spin(player, game, line_bet * 100, datetime.now(UTC))
        terms = self.oracle.terms(player, game, line_bet * 100)
        path = f"/api/v1/casino/{game.replace('_', '-')}/spin"
        key = {"Idempotency-Key": f"spin {next(names)}"} if with_key else {}
        answer = self.client.post(path, json={"bet_amount": line_bet}, headers=self.tokens[player] | key)
        assert answer.status_code == wanted, (answer.text, wanted)
        self.reached.add(f"spin {wanted}")
        if wanted != 200:
            return Keyed(player, path, line_bet, key, None)
        self.check(player, game, terms, answer.get_json())
        return Keyed(player, path, line_bet, key, answer.get_json())

    def check(self, player: str, game: str, terms: Terms, answer: Mapping[str, object]) -> None:
        """Compare a round with the outcome that the seeds determine."""
        result = self.oracle.spin(player, game, terms)
        self.reached.add("free" if terms.free else "paid")
        gambler = self.oracle.players[player]
        symbols = sheet(game)["symbols"]
        assert answer.get("grid", [answer.get("reels")]) == [[symbols[code] for code in row] for row in result.grid]
        assert answer["win_multiplier"] == result.award
        money = {
            "win_amount": result.award * terms.line_bet,
            "balance": gambler.balance,
            "net_today": gambler.net_today,
        }
        bet = 0 if terms.free else terms.line_bet * self.oracle.games[game].lines
        money |= {"bet" if game == GLITCH else "total_bet": bet}
        assert {name: nb1.hundredths(cast("float", answer[name])) for name in money} == money
        if game == STARLIGHT:
            assert (answer["free_spins_remaining"], answer["was_free_spin"]) == (gambler.waiting, terms.free)
        shown = self.send(player, "GET", f"/casino/rounds/{answer['round']}").get_json()
        assert (shown["nonce"], shown["set"], shown["stops"]) == (gambler.nonce - 1, result.set, result.stops)
        assert (nb1.hundredths(shown["dial"]), shown["config_version"]) == (terms.dial, terms.version)
        assert shown["server_seed"] is None

    @rule(player=players, client_seed=st.sampled_from([None, "neo", "~" * 64]))
    def rotate(self, player: str, client_seed: str | None) -> None:
        gambler = self.oracle.players[player]
        answer = self.send(player, "POST", "/casino/seed", client_seed=client_seed)
        if gambler.frozen:
            assert answer.status_code == 401
            return
        assert answer.status_code == 200, answer.text
        revealed = answer.get_json()["revealed"]
        assert (revealed["server_seed"], revealed["rounds"]) == (gambler.seed.hex(), gambler.nonce)
        gambler.client_seed, gambler.nonce = client_seed or gambler.client_seed, 0
        before, (gambler.seed, gambler.next_seed) = gambler.next_seed, self.seeds(player)
        assert gambler.seed == before
        self.reached.add("rotate")

    @rule(target=keyed, player=players, times=st.integers(1, 8))
    def play_luckily(self, player: str, times: int) -> object:
        """Play on a server seed whose first round awards free spins; the database owner sets it."""
        self.rotate(player, LUCKY)
        gambler = self.oracle.players[player]
        if not gambler.frozen:
            gambler.seed = lucky_seed(self.oracle.games[STARLIGHT].dial)
            rig(self.owner, player, gambler.seed)
        return self.spin(player, [(STARLIGHT, BETS[0])] * times, with_key=True)

    @rule(player=players, limit=st.none() | limits)
    def set_limit(self, player: str, limit: int | None) -> None:
        change = {"remove_daily_loss_limit": True} if limit is None else {"daily_loss_limit": limit / 100}
        answer = self.send(player, "PUT", "/account/limits", **change)
        gambler = self.oracle.players[player]
        assert answer.status_code == (401 if gambler.frozen else 200), answer.text
        if not gambler.frozen:
            gambler.set_limit(limit, datetime.now(UTC))
            self.reached.add("limit")

    @rule(player=players, ahead=hours, by_organiser=st.booleans())
    def exclude(self, player: str, ahead: int, *, by_organiser: bool) -> None:
        now, gambler = datetime.now(UTC), self.oracle.players[player]
        until = now + timedelta(hours=ahead)
        until_text = until.isoformat()
        if by_organiser:
            answer = self.organiser.administer(
                "PUT", f"/users/{player}/exclusion", until=until_text, reason="on request"
            )
        else:
            answer = self.send(player, "PUT", "/account/limits", self_excluded_until=until_text)
        wanted = 401 if gambler.frozen and not by_organiser else gambler.exclude(until, now)
        assert answer.status_code == wanted, (answer.text, wanted)
        self.reached.add(f"exclude {wanted}")

    @rule()
    def a_day_passes(self) -> None:
        with self.owner.begin() as connection:
            connection.execute(A_DAY_PASSES)
        for gambler in self.oracle.players.values():
            gambler.a_day_passes()

    @rule(
        game=games,
        is_open=st.sampled_from([None, True, True, False]),
        dial=st.sampled_from([None, 5_000, 10_200, 12_345, 15_000]),
    )
    def configure(self, game: str, *, is_open: bool | None, dial: int | None) -> None:
        change = {"is_enabled": is_open, "payout_percentage": dial and dial / 100}
        now = self.organiser.administer("PUT", f"/casino/config/{game}", **change).get_json()["game"]
        was = self.oracle.games[game]
        is_open, dial = was.is_open if is_open is None else is_open, dial or was.dial
        assert (now["is_enabled"], nb1.hundredths(now["payout_percentage"])) == (is_open, dial)
        assert (now["config_version"] > was.version) == (dial != was.dial)
        self.oracle.games[game] = replace(was, is_open=is_open, dial=dial, version=now["config_version"])

    @rule(read_only=st.sampled_from([False, False, False, True]))
    def switch(self, *, read_only: bool) -> None:
        assert self.organiser.administer("PUT", "/switches", read_only=read_only).status_code == 200
        self.oracle.read_only = read_only

    @rule(player=players, freeze=st.sampled_from([False, False, True]))
    def freeze(self, player: str, *, freeze: bool) -> None:
        assert (
            self.organiser.administer("POST", f"/users/{player}/{'freeze' if freeze else 'unfreeze'}").status_code
            == 200
        )
        gambler = self.oracle.players[player]
        if gambler.frozen and not freeze:
            self.log_in(player)
        gambler.frozen = freeze

    @rule(target=keyed, held=st.sampled_from([1_000_000_000, 140_499, 98_999]), player=players, bets=bets)
    def play_with_a_house_that_holds(self, held: int, player: str, bets: list[tuple[str, Bet]]) -> object:
        self.give_the_house(held)
        return self.spin(player, bets, with_key=False)

    def give_the_house(self, held: int) -> None:
        self.adjust(HOUSE_NUMBER, held - self.oracle.house)

    @rule(player=players, amount=st.sampled_from([10_000_000, 45_000]))
    def give_a_player(self, player: str, amount: int) -> None:
        self.adjust(player, amount)

    @rule(payer=players, receiver=players)
    def pay(self, payer: str, receiver: str) -> None:
        """Pay: limits and exclusions of the casino do not affect payments, and payments do not count towards limits."""
        one, other = self.oracle.players[payer], self.oracle.players[receiver]
        answer = self.send(payer, "POST", "/transactions", to_account=receiver, amount=1)
        if one.frozen:
            wanted = 401
        elif self.oracle.read_only:
            wanted = 403
        else:
            wanted = 201 if one is not other and one.balance >= 100 else 400
        if answer.status_code == 400 and payer == receiver:
            return
        assert answer.status_code == wanted, answer.text
        if wanted == 201:
            one.balance -= 100
            other.balance += 100

    @rule(request=keyed)
    def send_again(self, request: Keyed) -> None:
        """Expect the first response, whatever has happened since."""
        if request.answer is None:
            return
        answer = self.resend(request, request.bet)
        if answer.status_code != 401:
            assert (answer.status_code, answer.get_json()) == (200, request.answer)

    @rule(request=consumes(keyed))
    def use_the_key_for_another_bet(self, request: Keyed) -> None:
        if request.answer is None:
            return
        assert self.resend(request, request.bet * 2).status_code in {401, 422}

    def resend(self, request: Keyed, bet: int) -> TestResponse:
        headers = self.tokens[request.player] | request.key
        answer = self.client.post(request.path, json={"bet_amount": bet}, headers=headers)
        assert (answer.status_code == 401) == self.oracle.players[request.player].frozen, answer.text
        return answer

    @invariant()
    def the_bank_agrees_with_the_model(self) -> None:
        assert house(self.owner) == self.oracle.house
        assert self.count(ROUNDS) - self.rounds_before == self.oracle.rounds
        assert self.count(KEPT) == 0
        for number, gambler in self.oracle.players.items():
            if gambler.frozen:
                continue
            account = self.send(number, "GET", "/account").get_json()["account"]
            assert (nb1.hundredths(account["balance"]), account["free_spins"]) == (gambler.balance, gambler.waiting)
            assert self.send(number, "GET", "/casino/seed").get_json() == {
                "server_seed_hash": hashlib.sha256(gambler.seed).hexdigest(),
                "next_server_seed_hash": hashlib.sha256(gambler.next_seed).hexdigest(),
                "client_seed": gambler.client_seed,
                "nonce": gambler.nonce,
            }
            self.limits_agree_with_the_model(number, gambler)

    def limits_agree_with_the_model(self, number: str, gambler: Gambler) -> None:
        now, shown = datetime.now(UTC), self.send(number, "GET", "/account/limits").get_json()
        waits = gambler.raised is not None and gambler.raised[1] > now
        limit, later = gambler.limit_at(now), gambler.raised[0] if gambler.raised and waits else None
        assert shown["daily_loss_limit"] == (None if limit is None else limit / 100)
        assert shown["pending_daily_loss_limit"] == (None if later is None else later / 100)
        assert (shown["pending_from"] is not None) == waits
        assert nb1.hundredths(shown["net_today"]) == gambler.net_today
        excluded_until = shown["self_excluded_until"]
        assert (excluded_until and datetime.fromisoformat(excluded_until)) == gambler.excluded_until

    def teardown(self) -> None:
        self.switch(read_only=False)
        self.give_the_house(1_000_000_000)

    def adjust(self, number: str, amount: int) -> None:
        if not amount:
            return
        answer = self.organiser.administer(
            "POST", f"/users/{number}/adjust-balance", amount=amount / 100, reason="test"
        )
        assert answer.status_code == (403 if self.oracle.read_only else 200), answer.text
        if not self.oracle.read_only:
            if number == HOUSE_NUMBER:
                self.oracle.house += amount
            else:
                self.oracle.players[number].balance += amount

    def send(self, number: str, method: str, path: str, **fields: object) -> TestResponse:
        return LoggedIn(self.client, number, self.tokens[number]).send(method, path, **fields)

    def log_in(self, number: str) -> None:
        self.tokens[number] = open_session(self.app, self.ids[number])

    def seeds(self, number: str) -> tuple[bytes, bytes]:
        with self.owner.connect() as connection:
            current, following = connection.execute(SEEDS, {"account": self.ids[number]}).one()
        return bytes(current), bytes(following)

    def count(self, statement: object) -> int:
        with self.owner.connect() as connection:
            return int(connection.execute(statement).scalar_one())  # type: ignore[call-overload]


CI = how_long(max_examples=40, stateful_step_count=40, suppress_health_check=list(HealthCheck))
SOAK = how_long(CI, max_examples=1000, stateful_step_count=60, derandomize=False)
REACHED = {f"spin {status}" for status in (200, 400, 401, 403, 409)}
REACHED |= {"paid", "free", "rotate", "limit", "exclude 200", "exclude 400"}


@pytest.fixture
def settings(settings: ServingSettings) -> ServingSettings:
    """Use a time zone in which it is about noon, so that no day of the casino ends during the test."""
    ahead = 12 - datetime.now(UTC).hour
    return replace(settings, casino_time_zone=ZoneInfo(f"Etc/GMT{-ahead:+d}"))


@pytest.mark.parametrize("how", [CI, pytest.param(SOAK, marks=[pytest.mark.soak, pytest.mark.timeout(7200)])])
def test_any_sequence_agrees_with_the_model(
    app: Flask, owner: Engine, organiser: LoggedIn, books: Books, how: how_long
) -> None:
    machine = cast("type[RuleBasedStateMachine]", lambda: CasinoMachine(app, owner, organiser))
    run_state_machine_as_test(machine, settings=how)
    books()


def test_each_operation_succeeds_and_is_rejected_as_in_the_model(
    app: Flask, owner: Engine, organiser: LoggedIn
) -> None:
    casino = CasinoMachine(app, owner, organiser)
    player = casino.join()
    casino.play_luckily(player, 2)
    casino.spin(player, [(GLITCH, BETS[0]), (GLITCH, BETS[-1])], with_key=True)
    casino.give_a_player(player, 10_000_000)
    casino.play_with_a_house_that_holds(98_999, player, [(GLITCH, BETS[-2])])
    casino.set_limit(player, 100)
    casino.spin(player, [(GLITCH, BETS[0])], with_key=True)
    for ahead in (1, -1):
        casino.exclude(player, ahead, by_organiser=False)
    casino.the_bank_agrees_with_the_model()
    casino.freeze(player, freeze=True)
    casino.spin(player, [(GLITCH, BETS[0])], with_key=True)
    casino.the_bank_agrees_with_the_model()
    casino.teardown()
    assert set(casino.reached) == REACHED
