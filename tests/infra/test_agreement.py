"""The program refuses each value that the service would refuse, so that no pod starts with a wrong setting."""

from collections.abc import Callable, Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from credentials import LENGTH
from neobank import names
from neobank.contract import CONTRACT
from neobank.settings import MIN_SECRET, NAMES, ServingSettings, SettingsError, UpgradeSettings
from tests.infra.options import accepted, nested
from tests.infra.program import DIGEST_IMAGE, merged
from tests.infra.test_settings import INVALID_RATE_LIMITS, VALID_RATE_LIMITS

URL = "postgresql://user@host/name"
LIMITS = "application.rateLimits"
ORIGINS = "application.corsOrigins"


def serving(variable: str) -> Callable[[Any], object]:
    environment = {NAMES.database_url: URL, NAMES.secret_key: "k" * MIN_SECRET}
    return lambda value: ServingSettings.from_environment({**environment, variable: str(value)})


def upgrading(variable: str) -> Callable[[Any], object]:
    return lambda value: UpgradeSettings.from_environment({NAMES.database_owner_url: URL, variable: str(value)})


READ_BY_SERVICE: Mapping[str, Callable[[Any], object]] = {
    LIMITS: serving(NAMES.rate_limits),
    ORIGINS: serving(NAMES.cors_origins),
    "application.workers": serving(NAMES.workers),
    "application.threads": serving(NAMES.threads),
    "application.connections": serving(NAMES.connections),
    "ingress.trustedProxies": serving(NAMES.trusted_proxies),
    "casino.timeZone": serving(NAMES.casino_time_zone),
    "casino.bankroll": upgrading(NAMES.house_bankroll),
    "openingBalance": upgrading(NAMES.opening_balance),
    "adminName": names.tidy,
}


def accepted_by_program(path: str, value: object) -> bool:
    pooled = {"pgbouncer": {"enabled": True, "image": DIGEST_IMAGE}}  # then any number of connections is allowed
    spacious = {"application": {"memory": "16Gi"}}  # then any number of workers is allowed
    return accepted(merged(spacious | pooled, nested(path, value)))


def accepted_by_service(path: str, value: object) -> bool:
    try:
        READ_BY_SERVICE[path](value)
    except (SettingsError, ValueError):
        return False
    return True


@pytest.mark.parametrize("text", VALID_RATE_LIMITS)
def test_the_service_takes_the_rate_limits_that_the_program_takes(text: str) -> None:
    assert accepted_by_program(LIMITS, text)
    assert accepted_by_service(LIMITS, text)


@pytest.mark.parametrize("text", [text for text, _ in INVALID_RATE_LIMITS if text])
def test_both_refuse_the_same_rate_limits(text: str) -> None:
    assert not accepted_by_program(LIMITS, text)
    assert not accepted_by_service(LIMITS, text)


PIECES = [*CONTRACT.rate_limits.defaults, "on", "off", "paiments", "=", "=1/day", "=9", "0", "/minute", "/weeks"]


@given(st.lists(st.sampled_from([*PIECES, ",", " ", "\t", "\n", "\u00a0", "٣", ";"]), min_size=1).map("".join))
def test_program_and_service_agree_about_any_rate_limits(text: str) -> None:
    assert accepted_by_program(LIMITS, text) == accepted_by_service(LIMITS, text)


@given(st.lists(st.sampled_from([*"aA9.-:/,* \n", "http", "https", "://", ":80", "null"]), min_size=1).map("".join))
def test_program_and_service_agree_about_any_origins(text: str) -> None:
    assert accepted_by_program(ORIGINS, text) == accepted_by_service(ORIGINS, text)


@pytest.mark.parametrize("text", ["https://panel.example.org", "http://localhost:5173, https://a.b-c.d:99999", ""])
def test_both_take_exact_origins(text: str) -> None:
    assert accepted_by_program(ORIGINS, text)
    assert accepted_by_service(ORIGINS, text)


@pytest.mark.parametrize("path", ["application.workers", "application.threads", "application.connections"])
def test_both_take_the_same_numbers(path: str) -> None:
    for number in (-1, 0, 1, 2, 64, 65, 512, 513):
        assert accepted_by_program(path, number) == accepted_by_service(path, number), number


@pytest.mark.parametrize("number", [1, 2, 8])
def test_the_service_takes_the_proxies_that_the_program_takes(number: int) -> None:
    assert accepted_by_program("ingress.trustedProxies", number)
    assert accepted_by_service("ingress.trustedProxies", number)
    assert not accepted_by_program("ingress.trustedProxies", 9)


@pytest.mark.parametrize("path", ["casino.bankroll", "openingBalance"])
@pytest.mark.parametrize("amount", [-1, 0, 1, 10_000_000, 10**9, 10**9 + 1, 10**11, 10**11 + 1])
def test_both_take_the_same_amounts(path: str, amount: int) -> None:
    assert accepted_by_program(path, amount) == accepted_by_service(path, amount)


@pytest.mark.parametrize("zone", ["UTC", "Europe/Berlin", "America/Argentina/Buenos_Aires", "Etc/GMT+5", "EST5EDT"])
def test_both_take_a_time_zone(zone: str) -> None:
    assert accepted_by_program("casino.timeZone", zone)
    assert accepted_by_service("casino.timeZone", zone)


@pytest.mark.parametrize("zone", ["Mars/Phobos", "Europe", "Europe/berlin ", "../UTC", "/etc/localtime"])
def test_both_refuse_what_is_no_time_zone(zone: str) -> None:
    assert not accepted_by_program("casino.timeZone", zone)
    assert not accepted_by_service("casino.timeZone", zone)


ODD = (
    "aZ7. \u00e4\u0416\u4e2d\u00ad\u034f\u061c\u0e34\u115f\u1160\u17b4\u180e\u200b\u2028\u2065\u2800\u3164\ufe0f"
    "\uffa0\ufff0\ufffc\U0001d159\U00016fe4\U000e0001"
)


@given(st.text(max_size=names.MAX_NAME + 1) | st.text(st.sampled_from(ODD)))
def test_the_service_takes_each_administrators_name_that_the_program_takes(name: str) -> None:
    if accepted_by_program("adminName", name):
        assert accepted_by_service("adminName", name)


def test_a_generated_secret_key_is_long_enough_for_the_service() -> None:
    assert LENGTH >= MIN_SECRET
