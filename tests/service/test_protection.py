"""Protection of players: the casino's day in the event's time zone, loss limits and exclusion."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from flask import Flask
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import Engine, text

from neobank.casino.protection import Limits, casino_day, in_iso, next_day
from tests.service.gambling import GLITCH, STARLIGHT, configure, played, seed_that, set_seed, spin
from tests.service.statements import Statement, before_each
from tests.service.support import Join, LoggedIn, bank_of

pytestmark = pytest.mark.usefixtures("fair")

BERLIN = ZoneInfo("Europe/Berlin")
ZONES = [
    ZoneInfo(name) for name in ("UTC", "Europe/Berlin", "America/St_Johns", "Asia/Kathmandu", "Australia/Lord_Howe")
]
LATER = text("UPDATE casino_players SET pending_from = pending_from - CAST(:by AS interval)")
LOST = text("UPDATE casino_players SET day = CAST(:day AS date), day_net = :net")


@pytest.mark.parametrize(
    ("moment", "day"),
    [
        ("2026-03-28T04:59:59+00:00", date(2026, 3, 27)),
        ("2026-03-28T05:00:00+00:00", date(2026, 3, 28)),
        ("2026-03-29T03:59:59+00:00", date(2026, 3, 28)),  # 05:59:59 local time; this day has 23 hours
        ("2026-03-29T04:00:00+00:00", date(2026, 3, 29)),
        ("2026-10-25T04:59:59+00:00", date(2026, 10, 24)),  # this day has 25 hours
        ("2026-10-25T05:00:00+00:00", date(2026, 10, 25)),
        ("2026-12-31T23:30:00+00:00", date(2026, 12, 31)),
        ("2027-01-01T04:59:59+00:00", date(2026, 12, 31)),
    ],
)
def test_the_casino_s_day_starts_at_six_in_the_event_s_time_zone(moment: str, day: date) -> None:
    assert casino_day(datetime.fromisoformat(moment), BERLIN) == day


@pytest.mark.parametrize(("day", "hours"), [(date(2026, 3, 28), 23), (date(2026, 10, 24), 25), (date(2026, 7, 1), 24)])
def test_a_day_with_a_clock_change_has_its_actual_length(day: date, hours: int) -> None:
    starts = next_day(day - timedelta(days=1), BERLIN)
    assert (next_day(day, BERLIN).astimezone(UTC) - starts.astimezone(UTC)) == timedelta(hours=hours)


@given(zone=st.sampled_from(ZONES), moment=st.datetimes(datetime(2026, 1, 1), datetime(2030, 1, 1)))  # noqa: DTZ001
def test_every_time_lies_within_its_casino_day(zone: ZoneInfo, moment: datetime) -> None:
    now = moment.replace(tzinfo=UTC)
    day = casino_day(now, zone)
    assert next_day(day - timedelta(days=1), zone) <= now < next_day(day, zone)


def limit(who: LoggedIn, **change: object) -> dict[str, object]:
    answer = who.send("PUT", "/account/limits", **change)
    assert answer.status_code == 200, answer.text
    found: dict[str, object] = answer.get_json()
    return found


def today() -> date:
    return casino_day(datetime.now(UTC), ZoneInfo("UTC"))


def lose(owner: Engine, net: int, day: date) -> None:
    """Set the net loss of a day, in hundredths."""
    with owner.begin() as connection:
        connection.execute(LOST, {"net": net, "day": day})


def test_a_bet_may_reach_the_limit_exactly(owner: Engine, neo: LoggedIn) -> None:
    limit(neo, daily_loss_limit=100)
    for wanted in (lambda award, _: award == 0, lambda award, _: award > 0):
        set_seed(owner, neo, seed_that(neo.number, GLITCH, wanted))
        lose(owner, 9_001, today())
        status, body = spin(neo, GLITCH, 10)
        assert status == 403
        day_ends = datetime.fromisoformat(neo.send("GET", "/account/limits").get_json()["day_ends"])
        assert "¤100.00" in str(body["detail"])
        assert in_iso(day_ends) in str(body["detail"])
        lose(owner, 9_000, today())
        assert spin(neo, GLITCH, 10)[0] == 200
        neo.send("POST", "/casino/seed", client_seed=neo.number)


def test_a_loss_counts_on_its_own_day_only(owner: Engine, neo: LoggedIn) -> None:
    limit(neo, daily_loss_limit=100)
    lose(owner, 10_000, today())
    assert spin(neo, GLITCH, 10)[0] == 403
    lose(owner, 10_000, today() - timedelta(days=1))
    assert neo.send("GET", "/account/limits").get_json()["net_today"] == 0
    body = played(neo, GLITCH, 10)
    assert body["net_today"] == 10 - body["win_amount"]  # type: ignore[operator]


def test_winnings_of_the_day_may_be_bet_again(owner: Engine, neo: LoggedIn) -> None:
    limit(neo, daily_loss_limit=10)
    lose(owner, -99_000, today())
    assert spin(neo, GLITCH, 1000)[0] == 200


def test_the_limit_does_not_apply_to_free_spins_and_their_wins_count(owner: Engine, neo: LoggedIn) -> None:
    set_seed(owner, neo, seed_that(neo.number, STARLIGHT, lambda _, triggers: triggers))
    net = played(neo, STARLIGHT, 5)["net_today"]
    lose(owner, 1_000_000, today())
    limit(neo, daily_loss_limit=1)
    for _ in range(5):
        body = played(neo, STARLIGHT, 5)
        net = body["net_today"]
        assert body["was_free_spin"]
    shown = neo.send("GET", "/casino/rounds", limit=5).get_json()["rounds"]
    assert net == 10_000 - sum(it["win"] for it in shown)
    assert spin(neo, STARLIGHT, 5)[0] == 403


def test_a_lower_limit_applies_at_once_and_a_higher_one_after_a_day(owner: Engine, neo: LoggedIn) -> None:
    assert limit(neo, daily_loss_limit=100)["daily_loss_limit"] == 100
    assert limit(neo, daily_loss_limit=50)["daily_loss_limit"] == 50
    raised = limit(neo, daily_loss_limit=200)
    assert (raised["daily_loss_limit"], raised["pending_daily_loss_limit"]) == (50, 200)
    ahead = datetime.fromisoformat(str(raised["pending_from"])) - datetime.now(UTC)
    assert timedelta(hours=23, minutes=55) < ahead <= timedelta(hours=24)
    assert (
        limit(neo, daily_loss_limit=200)["pending_from"] == raised["pending_from"]
    )  # a repeated request does not restart the wait
    lose(owner, 4_500, today())
    assert spin(neo, GLITCH, 10)[0] == 403
    with owner.begin() as connection:
        connection.execute(LATER, {"by": "23 hours 59 minutes"})
    assert spin(neo, GLITCH, 10)[0] == 403
    with owner.begin() as connection:
        connection.execute(LATER, {"by": "1 minute"})
    assert spin(neo, GLITCH, 10)[0] == 200
    assert neo.send("GET", "/account/limits").get_json()["daily_loss_limit"] == 200


@pytest.mark.parametrize("lower", [50, 49.5])
def test_setting_an_equal_or_lower_limit_cancels_a_pending_raise(owner: Engine, neo: LoggedIn, lower: float) -> None:
    limit(neo, daily_loss_limit=50)
    limit(neo, remove_daily_loss_limit=True)
    shown = limit(neo, daily_loss_limit=lower)
    assert (shown["daily_loss_limit"], shown["pending_from"]) == (lower, None)
    with owner.begin() as connection:
        connection.execute(LATER, {"by": "25 hours"})
    assert neo.send("GET", "/account/limits").get_json()["daily_loss_limit"] == lower


def test_removing_a_limit_takes_effect_after_a_day(owner: Engine, neo: LoggedIn) -> None:
    limit(neo, daily_loss_limit=10)
    shown = limit(neo, remove_daily_loss_limit=True)
    assert (shown["daily_loss_limit"], shown["pending_daily_loss_limit"]) == (10, None)
    assert shown["pending_from"] is not None
    assert spin(neo, GLITCH, 20)[0] == 403
    with owner.begin() as connection:
        connection.execute(LATER, {"by": "24 hours"})
    assert spin(neo, GLITCH, 20)[0] == 200


def test_a_request_cannot_both_set_and_remove_a_limit(neo: LoggedIn) -> None:
    assert neo.send("PUT", "/account/limits", daily_loss_limit=5, remove_daily_loss_limit=True).status_code == 400
    assert neo.send("GET", "/account/limits").get_json()["daily_loss_limit"] is None


def ahead(**time: float) -> str:
    return (datetime.now(UTC) + timedelta(**time)).isoformat()


def test_exclusion_closes_both_games_only_and_can_only_be_extended(
    organiser: LoggedIn, owner: Engine, player: Join, neo: LoggedIn
) -> None:
    set_seed(owner, neo, seed_that(neo.number, STARLIGHT, lambda _, triggers: triggers))
    played(neo, STARLIGHT, 5)
    until = limit(neo, self_excluded_until=ahead(days=2))["self_excluded_until"]
    for game, bet in ((GLITCH, 10), (STARLIGHT, 5)):
        status, body = spin(neo, game, bet)
        assert (status, in_iso(datetime.fromisoformat(str(until))) in str(body["detail"])) == (403, True)
    assert neo.account()["free_spins"] == 5
    trinity = player("Trinity")
    assert neo.pay(trinity.number, 1).status_code == 201
    assert trinity.pay(neo.number, 1).status_code == 201

    def organise(until: str) -> int:
        path = f"/users/{neo.number}/exclusion"
        return organiser.administer("PUT", path, until=until, reason="on request").status_code

    for shorter in (ahead(days=1), ahead(seconds=-1), ahead(days=367)):
        assert neo.send("PUT", "/account/limits", self_excluded_until=shorter).status_code == 400
        assert organise(shorter) == 400
        assert neo.send("GET", "/account/limits").get_json()["self_excluded_until"] == until
    assert organise(ahead(days=3)) == 200
    longer = neo.send("GET", "/account/limits").get_json()["self_excluded_until"]
    assert longer > until
    assert limit(neo, self_excluded_until=ahead(days=4))["self_excluded_until"] > longer
    with owner.begin() as connection:
        connection.execute(text("UPDATE casino_players SET excluded_until = clock_timestamp()"))
    assert played(neo, STARLIGHT, 5)["free_spins_remaining"] == 4


def test_an_invalid_exclusion_rejects_the_limit_in_the_same_request(neo: LoggedIn) -> None:
    assert neo.send("PUT", "/account/limits", daily_loss_limit=5, self_excluded_until=ahead(days=-1)).status_code == 400
    assert neo.send("GET", "/account/limits").get_json()["daily_loss_limit"] is None


def test_a_pending_limit_and_an_exclusion_end_exactly_at_their_time() -> None:
    now = datetime.now(UTC)
    found = Limits(now, None, 0, 100, 200, now, now)
    assert (found.limit, found.pending) == (200, False)
    found.require_not_excluded()


@contextmanager
def before_settling(app: Flask, action: Callable[[], None]) -> Iterator[None]:
    """Call `action` after a spin has read its conditions and before it is settled."""

    def on_statement(statement: Statement) -> None:
        if "settle_round" in statement.text:
            action()

    with before_each(bank_of(app).engine, on_statement):
        yield


@pytest.mark.parametrize("key", ["", "once"], ids=["without a key", "with a key"])
def test_a_change_of_a_game_applies_to_a_spin_that_has_read_the_old_settings(
    app: Flask, owner: Engine, organiser: LoggedIn, neo: LoggedIn, key: str
) -> None:
    played(neo, GLITCH, 10)

    def change(settings: str) -> None:
        with owner.begin() as connection:
            connection.execute(text(f"SELECT set_game('glitch_grid', {settings}, 9000000000000000001)"))

    with before_settling(app, lambda: change("NULL, 5000")):
        status, body = spin(neo, GLITCH, 10, key)
    assert status == 200, body
    assert neo.send("GET", f"/casino/rounds/{body['round']}").get_json()["dial"] == 50
    before = neo.balance()
    with before_settling(app, lambda: change("false, NULL")):
        assert spin(neo, GLITCH, 10)[0] == 400
    assert (neo.balance(), neo.send("GET", "/casino/seed").get_json()["nonce"]) == (before, 2)
    configure(organiser, "glitch_grid", is_enabled=True)
    assert spin(neo, GLITCH, 10)[0] == 200


@pytest.mark.parametrize(
    ("method", "path", "body", "status"),
    [
        ("PUT", "/account/limits", {"self_excluded_until": ahead(days=1)}, 403),
        ("PUT", "/account/limits", {"daily_loss_limit": 5}, 403),
        ("POST", "/casino/seed", {"client_seed": "another"}, 200),
        ("POST", "/casino/glitch-grid/spin", {"bet_amount": 10}, 200),
    ],
    ids=["exclusion", "limit", "seed", "spin"],
)
@pytest.mark.parametrize("key", ["", "once"], ids=["without a key", "with a key"])
def test_a_spin_is_repeated_if_its_conditions_change_meanwhile(
    app: Flask, neo: LoggedIn, method: str, path: str, body: dict[str, object], status: int, key: str
) -> None:
    """Another device changes the conditions after the spin has read them, so that first attempt plays no round."""
    neo.send("POST", "/casino/seed")
    before, other = neo.send("GET", "/casino/seed").get_json(), replace(neo, client=app.test_client())
    left = [True]

    def overtake() -> None:
        if left:
            left.pop()
            assert other.send(method, path, **body).status_code in {200, 201}

    with before_settling(app, overtake):
        found, answer = spin(neo, GLITCH, 10, key)
    assert found == status, answer
    after = neo.send("GET", "/casino/seed").get_json()
    rounds = {200: 1, 403: 0}[status] + path.endswith("/spin")
    if path == "/casino/seed":
        assert (after["server_seed_hash"], after["nonce"]) == (before["next_server_seed_hash"], 1)
    else:
        assert (after["server_seed_hash"], after["nonce"]) == (before["server_seed_hash"], before["nonce"] + rounds)


@pytest.mark.parametrize(
    "statement",
    ["UPDATE switches SET read_only = {}", "UPDATE accounts SET frozen = {} WHERE name = 'Neo'"],
)
def test_a_spin_that_has_begun_is_rejected_when_the_bank_or_account_is_stopped(
    app: Flask, owner: Engine, neo: LoggedIn, statement: str
) -> None:
    played(neo, GLITCH, 10)
    before = neo.balance()

    def set_(stopped: str) -> None:
        with owner.begin() as connection:
            connection.execute(text(statement.format(stopped)))

    with before_settling(app, lambda: set_("true")):
        assert spin(neo, GLITCH, 10)[0] == 403
    set_("false")
    assert (neo.balance(), neo.send("GET", "/casino/seed").get_json()["nonce"]) == (before, 1)
