"""Rate limits are exact across threads and workers, apply to the right caller, and hide no other response."""

import itertools
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from threading import Event
from typing import Protocol

import pytest
from flask import Flask
from limits import RateLimitItemPerDay
from limits.storage import storage_from_string
from limits.strategies import FixedWindowRateLimiter
from sqlalchemy import Engine, text
from sqlalchemy.exc import OperationalError
from werkzeug.test import TestResponse

from neobank import counters
from neobank.application import create_app
from neobank.contract import CONTRACT
from neobank.settings import NAMES, RATES, Limit, ServingSettings, SettingsError
from neobank.web.rate_limit_storage import CounterStorage
from tests.service.statements import Statement, before_each, recorded
from tests.service.support import ADMINISTRATOR, DEAD_URL, SERVING, Database, Join, LoggedIn, bank_of, neobank

pytestmark = pytest.mark.usefixtures("books")


class Serve(Protocol):
    def __call__(self, *, trusted_proxies: int = 0, **rates: str) -> Flask: ...


@pytest.fixture
def serve(app: Flask, settings: ServingSettings, owner: Engine) -> Iterator[Serve]:
    """Create workers with these limits and without earlier counts."""
    del app  # the bank is fresh
    started: list[Flask] = []
    with owner.begin() as connection:
        connection.execute(text("TRUNCATE rate_limit_counters"))

    def start(*, trusted_proxies: int = 0, **rates: str) -> Flask:
        limits = {Limit(name): rate for name, rate in rates.items()}
        worker = create_app(replace(settings, threads=8, rate_limits=limits, trusted_proxies=trusted_proxies))
        started.append(worker)
        return worker

    yield start
    for worker in started:
        bank_of(worker).engine.dispose()


def pay(worker: Flask, payer: LoggedIn, amount: object = 0.01, address: str = "10.0.0.1") -> TestResponse:
    body = {"to_account": "NC-CASA-0000", "amount": amount}
    headers, peer = payer.headers, {"REMOTE_ADDR": address}
    return worker.test_client().post("/api/v1/transactions", json=body, headers=headers, environ_base=peer)


def log_in(worker: Flask, name: str, address: str = "10.0.0.1") -> int:
    who = {"character_name": name, "password": "not this one"}
    return worker.test_client().post("/api/v1/auth/login", json=who, environ_base={"REMOTE_ADDR": address}).status_code


def register(worker: Flask, address: str, forwarded: str | None = None) -> int:
    """Try to register a taken name: the status is 400 unless the limit rejects the request."""
    who = {"character_name": "System", "password": "white rabbit"}
    headers = {} if forwarded is None else {"X-Forwarded-For": forwarded}
    peer = {"REMOTE_ADDR": address}
    return worker.test_client().post("/api/v1/auth/register", json=who, headers=headers, environ_base=peer).status_code


def let_time_pass(owner: Engine, seconds: int) -> None:
    """Move the end of every window back by this many seconds."""
    with owner.begin() as connection:
        statement = text("UPDATE rate_limit_counters SET ends_at = ends_at - :seconds * interval '1 second'")
        connection.execute(statement, {"seconds": seconds})


@pytest.mark.parametrize("state", ["nothing counted yet", "an ended window"])
def test_sixteen_threads_on_two_workers_get_exactly_the_limit(
    serve: Serve, player: Join, owner: Engine, state: str
) -> None:
    """Meanwhile a thread deletes ended windows, as the command `neobank expire` does."""
    neo = player("Neo")
    workers = [serve(payments="30/day"), serve(payments="30/day")]
    if state == "an ended window":
        assert [pay(worker, neo).status_code for worker in workers * 16][-2:] == [429, 429]
        let_time_pass(owner, 86_400)
    done = Event()

    def clear() -> None:
        while not done.is_set():
            with owner.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
                counters.clear_ended(connection)

    with ThreadPoolExecutor(17) as pool:
        clearing = pool.submit(clear)
        try:
            choice = itertools.islice(itertools.cycle(workers), 80)
            answers = Counter(pool.map(lambda worker: pay(worker, neo).status_code, choice))
        finally:
            done.set()
        clearing.result()
    assert answers == {201: 30, 429: 50}


def test_a_rejection_says_how_long_to_wait(serve: Serve, player: Join, owner: Engine) -> None:
    worker, neo = serve(payments="2/day"), player("Neo")
    assert [pay(worker, neo).status_code for _ in range(2)] == [201, 201]
    refused = pay(worker, neo)
    body = refused.get_json()
    assert (refused.status_code, refused.content_type) == (429, "application/problem+json")
    assert (body["status"], body["title"], body["error"]) == (429, "Too Many Requests", body["detail"])
    wait = int(refused.headers["Retry-After"])
    assert re.findall(r"\d+", body["detail"]) == ["2", str(wait)]
    let_time_pass(owner, wait - 600)
    too_early = pay(worker, neo)
    assert too_early.status_code == 429
    rest = int(too_early.headers["Retry-After"])
    assert 0 < rest <= 600
    let_time_pass(owner, rest)
    assert [pay(worker, neo).status_code for _ in range(3)] == [201, 201, 429]


def test_each_account_has_its_own_limit_at_any_address(serve: Serve, player: Join) -> None:
    worker, neo, trinity = serve(payments="1/day"), player("Neo"), player("Trinity")
    assert pay(worker, neo, address="10.0.0.1").status_code == 201
    assert pay(worker, neo, address="10.0.0.2").status_code == 429
    assert pay(worker, trinity, address="10.0.0.1").status_code == 201
    assert worker.test_client().get("/api/v1/account", headers=neo.headers).status_code == 200


def test_a_failed_payment_counts_and_an_invalid_request_does_not(serve: Serve, player: Join) -> None:
    worker, neo = serve(payments="2/day"), player("Neo")
    assert [pay(worker, neo, amount).status_code for amount in (True, -1, "5", None)] == [400] * 4
    assert [pay(worker, replace(neo, headers={})).status_code for _ in range(4)] == [401] * 4
    assert [pay(worker, neo, 5000).status_code for _ in range(3)] == [400, 400, 429]


def test_logins_are_counted_by_folded_name_and_network(serve: Serve) -> None:
    worker = serve(logins="3/day")
    names = ["Neo", " NEO ", "\uff4e\uff45\uff4f", "neo"]
    assert [log_in(worker, name) for name in names] == [401, 401, 401, 429]
    assert log_in(worker, "Trinity") == 401
    assert log_in(worker, "Organiser") == 401
    assert log_in(worker, "Neo", "10.0.0.2") == 401
    same_network = ["2001:db8:0:1::1", "2001:db8:0:1:ffff::2", "2001:db8:0:1::3", "2001:db8:0:1::4"]
    assert [log_in(worker, "Neo", address) for address in same_network] == [401, 401, 401, 429]


def test_guessing_from_one_network_does_not_lock_the_organiser_out_of_another(serve: Serve) -> None:
    worker = serve(logins="10/day")
    assert [log_in(worker, ADMINISTRATOR.name, "10.0.0.66") for _ in range(12)] == [401] * 10 + [429] * 2
    who = {"character_name": ADMINISTRATOR.name, "password": ADMINISTRATOR.password}
    answer = worker.test_client().post("/api/v1/auth/login", json=who, environ_base={"REMOTE_ADDR": "10.0.0.7"})
    assert answer.status_code == 200


def test_passwords_lookups_searches_and_seeds_are_limited(serve: Serve, player: Join, organiser: LoggedIn) -> None:
    neo = player("Neo")
    change = {"current_password": "not this one", "new_password": "white rabbit"}
    for limit, method, path, caller, body in [
        ("passwords", "PUT", "/api/v1/account/password", neo, change),
        ("lookups", "GET", "/api/v1/players/lookup?name=Neo", neo, None),
        ("searches", "GET", "/api/v1/account/transactions/search?q=a", neo, None),
        ("searches", "GET", "/api/admin/users/search?q=a", organiser, None),
        ("seeds", "GET", "/api/v1/casino/seed", neo, None),
        ("seeds", "POST", "/api/v1/casino/seed", neo, {}),
    ]:
        client = serve(trusted_proxies=0, **{limit: "3/day"}).test_client()
        seen = [client.open(path, method=method, json=body, headers=caller.headers).status_code for _ in range(5)]
        assert seen[-1] == 429, path
        assert seen[0] in {200, 201, 401, 429}, path


LONG = "".join(chr(0x4E00 + index * 7919 % 20_000) for index in range(15_000))  # not compressible by an index


@pytest.mark.parametrize("name", [LONG, "a/b/c", "", "\U0001f480", "'; --"])
def test_any_name_can_be_counted(serve: Serve, name: str) -> None:
    worker = serve(logins="1/day")
    assert [log_in(worker, name), log_in(worker, name)] == [401, 429]


def test_registrations_are_counted_by_address(serve: Serve) -> None:
    worker = serve(registrations="2/day")
    assert [register(worker, "10.0.0.1") for _ in range(3)] == [400, 400, 429]
    assert register(worker, "10.0.0.2") == 400
    same_network = ["2001:db8:0:1::1", "2001:db8:0:1:ffff::2", "2001:db8:0:1::3"]
    assert [register(worker, address) for address in same_network] == [400, 400, 429]
    assert register(worker, "2001:db8:0:2::1") == 400
    assert register(worker, "::ffff:10.0.0.1") == 429


@pytest.mark.parametrize(
    ("proxies", "shared", "apart"),
    [
        # No trusted proxy: the address of the peer counts.
        (0, ["1.1.1.1", "2.2.2.2, 3.3.3.3", None], []),
        # One trusted proxy: it has appended the last entry, and earlier entries do not count.
        (1, ["1.1.1.1", "6.6.6.6, 1.1.1.1", '"6.6.6.6", 7.7.7.7,1.1.1.1'], ["1.1.1.1, 2.2.2.2", "3.3.3.3", None]),
        # Fewer entries than trusted proxies: the address of the peer counts.
        (2, ["1.1.1.1, 9.9.9.9", "6.6.6.6, 1.1.1.1, 8.8.8.8"], ["1.1.1.1", "2.2.2.2, 9.9.9.9"]),
        # An opening quote must not hide the entry that the proxy appends; for an invalid address the peer counts.
        (1, ['"6.6.6.6, 1.1.1.1', '"6.6.6.7, 1.1.1.1', "gibberish", ""], ["1.1.1.1"]),
    ],
)
def test_a_forged_header_does_not_avoid_the_limit(
    serve: Serve, proxies: int, shared: list[str | None], apart: list[str | None]
) -> None:
    worker = serve(registrations="1/day", trusted_proxies=proxies)
    assert [register(worker, "10.0.0.1", forwarded) for forwarded in shared] == [400] + [429] * (len(shared) - 1)
    assert [register(worker, "10.0.0.1", forwarded) for forwarded in apart] == [400] * len(apart)


def test_a_check_sends_one_statement(serve: Serve, player: Join) -> None:
    unlimited, limited, neo = serve(), serve(payments="2/day"), player("Neo")
    with recorded(bank_of(unlimited).engine) as without:
        assert pay(unlimited, neo).status_code == 201
    for status, expected in [(201, len(without) + 1), (201, len(without) + 1), (429, 2)]:
        with recorded(bank_of(limited).engine) as seen:
            assert pay(limited, neo).status_code == status
        assert len(seen) == expected, seen
        assert sum("rate_limit_counters" in statement.text for statement in seen) == 1


def test_a_failed_count_gets_a_503_and_moves_nothing(serve: Serve, player: Join) -> None:
    worker, neo = serve(payments="9/day"), player("Neo")

    def fail(statement: Statement) -> None:
        if "rate_limit_counters" in statement.text:
            raise OperationalError(statement.text, None, Exception("gone"))

    with before_each(bank_of(worker).engine, fail):
        answer = pay(worker, neo)
    assert (answer.status_code, answer.content_type) == (503, "application/problem+json")
    assert answer.headers["Retry-After"]
    assert neo.balance() == 1000
    assert pay(worker, neo).status_code == 201


def test_an_unreachable_database_gets_a_503(settings: ServingSettings) -> None:
    away = replace(settings, database_url=settings.database_url.set(port=1), rate_limits=RATES)
    worker = create_app(away)
    assert log_in(worker, "Neo") == 503
    assert register(worker, "10.0.0.1") == 503
    with worker.app_context():
        assert not CounterStorage().check()


def test_the_storage_implements_the_interface_of_the_library(serve: Serve, owner: Engine) -> None:
    with serve().app_context():
        storage = storage_from_string("neobank://")
        assert isinstance(storage, CounterStorage)
        strategy, three = FixedWindowRateLimiter(storage), RateLimitItemPerDay(3)
        assert storage.check()
        assert strategy.get_window_stats(three, "neo").remaining == 3
        assert [strategy.hit(three, "neo", cost=2), strategy.test(three, "neo", cost=2)] == [True, False]
        assert [strategy.hit(three, "neo"), strategy.test(three, "neo"), strategy.hit(three, "neo")] == [
            True,
            False,
            False,
        ]
        reset_time, remaining = strategy.get_window_stats(three, "neo")
        with owner.connect() as connection:
            left = reset_time - float(connection.execute(text("SELECT extract(epoch FROM now())")).scalar_one())
        assert remaining == 0
        assert 86_000 < left <= 86_400
        let_time_pass(owner, 86_400)
        assert strategy.test(three, "neo", cost=3)
        assert storage.incr("other", 60, 5) == 5
        strategy.clear(three, "neo")
        assert storage.get("other") == 5
        assert storage.reset() == 1
        assert storage.get("other") == 0


def test_only_ended_counters_are_deleted(serve: Serve, database: Database, owner: Engine) -> None:
    with serve().app_context():
        storage = CounterStorage()
        storage.incr("over", 60)
        let_time_pass(owner, 60)
        storage.incr("open", 60)
        cleared = neobank("expire", DATABASE_URL=database.setting("application"))
        assert cleared.returncode == 0, cleared.stderr
        assert re.findall(r"\d+ \w+", cleared.stdout)[0] == "1 counters"
        assert re.findall(r"\d+", cleared.stdout) == ["1", "0", "0", "0"]
        assert (storage.get("over"), storage.get("open")) == (0, 1)


def test_the_table_of_counts_is_unlogged(owner: Engine) -> None:
    with owner.connect() as connection:
        persistence = text("SELECT relpersistence FROM pg_class WHERE relname = 'rate_limit_counters'")
        assert connection.execute(persistence).scalar_one() == "u"


def test_without_limits_nothing_is_counted(serve: Serve, player: Join) -> None:
    worker, neo = serve(), player("Neo")
    with recorded(bank_of(worker).engine) as seen:
        assert {pay(worker, neo).status_code for _ in range(40)} == {201}
    assert not [statement for statement in seen if "rate_limit_counters" in statement.text]


@pytest.mark.parametrize("value", ["off", "on"])
def test_the_server_warns_at_every_log_level_if_limits_are_off(value: str) -> None:
    program = str(Path(sys.executable).with_name(CONTRACT.serve[0]))
    environment = SERVING | {"DATABASE_URL": DEAD_URL, "LOG_LEVEL": "error", NAMES.rate_limits: value}
    command = [program, "--check-config", *CONTRACT.serve[1:]]
    started = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, check=False)
    assert started.returncode == 0, started.stderr
    assert ("RATE LIMITS ARE OFF" in started.stderr) == (value == "off")


@pytest.mark.parametrize(
    ("value", "rates"),
    [
        ("", RATES),
        ("on", RATES),
        ("off", {}),
        ("payments=60/minute", {**RATES, Limit.PAYMENTS: "60/minute"}),
        ("logins=1/day, payments=60/hour", {**RATES, Limit.LOGINS: "1/day", Limit.PAYMENTS: "60/hour"}),
    ],
)
def test_the_limits_are_read_from_the_setting(value: str, rates: Mapping[Limit, str]) -> None:
    assert ServingSettings.from_environment(SERVING | {NAMES.rate_limits: value}).rate_limits == rates


@pytest.mark.parametrize("value", ["OFF", "0", "payments", "payments=30", "payments=-1/day", "payments=1/day;", "=,="])
def test_invalid_limits_are_rejected(value: str) -> None:
    with pytest.raises(SettingsError, match=f"^{NAMES.rate_limits} is .*\\bon, off"):
        ServingSettings.from_environment(SERVING | {NAMES.rate_limits: value})


def test_the_limits_of_the_routes_are_those_of_the_contract() -> None:
    assert list(RATES) == list(Limit)
    assert dict(CONTRACT.rate_limits.defaults) == RATES
    assert all(CONTRACT.rate_limits.override.fullmatch(f"{name}={rate}") for name, rate in RATES.items())


def test_the_wrong_item_of_the_limits_is_named() -> None:
    with pytest.raises(SettingsError, match=r", in which 'payment=60/minute' is invalid: .*\(names: registrations, "):
        ServingSettings.from_environment(SERVING | {NAMES.rate_limits: "logins=9/hour,payment=60/minute"})
