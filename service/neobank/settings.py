"""The service's configuration: environment variables, read and validated once. Each error names its variable.

No error message contains a value that may be a password.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Final, Self
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from sqlalchemy import URL, make_url
from sqlalchemy.exc import ArgumentError

from neobank.contract import CONTRACT
from neobank.ledger.money import MAX_AMOUNT, parse_amount

NAMES = CONTRACT.environment
MIN_SECRET = 32
"""Minimum length of SECRET_KEY, in characters."""

LOG_LEVELS = ("debug", "info", "warning", "error")


class Limit(StrEnum):
    """The rate limits of the routes; their names and default rates are in contract.toml."""

    REGISTRATIONS = "registrations"
    LOGINS = "logins"
    PAYMENTS = "payments"
    CHARGES = "charges"
    VENDORS = "vendors"
    POLLS = "polls"
    SPINS = "spins"
    SEEDS = "seeds"
    PASSWORDS = "passwords"
    LOOKUPS = "lookups"
    SEARCHES = "searches"
    PICTURES = "pictures"


RATES: Final[Mapping[Limit, str]] = {Limit(name): rate for name, rate in CONTRACT.rate_limits.defaults.items()}
"""The default rate of each limit."""


class SettingsError(Exception):
    """A variable is missing or invalid; the message contains its name and the values that it takes."""


@dataclass(frozen=True, slots=True)
class ServingSettings:
    """The settings of a serving process; its database role may neither migrate nor change ledger entries."""

    database_url: URL
    secret_key: bytes
    host: str
    port: int
    workers: int
    threads: int
    connections: int  # to the database, of each worker
    log_level: str
    rate_limits: Mapping[Limit, str]  # empty if they are off
    trusted_proxies: int
    cors_origins: frozenset[str]
    casino_time_zone: ZoneInfo  # in which the casino's day starts

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] = os.environ) -> Self:
        """Read the settings. Raise SettingsError if a variable is missing or invalid."""
        return cls(
            database_url=database_url(environment, NAMES.database_url),
            secret_key=_secret_key(environment),
            host=_host(environment),
            port=_integer(environment, NAMES.port, default=CONTRACT.http_port, low=1, high=65535),
            workers=_integer(environment, NAMES.workers, default=2, low=1, high=64),
            threads=_integer(environment, NAMES.threads, default=128, low=2, high=512),
            connections=_integer(environment, NAMES.connections, default=8, low=1, high=64),
            log_level=_log_level(environment),
            rate_limits=_rate_limits(environment),
            trusted_proxies=_integer(environment, NAMES.trusted_proxies, default=0, low=0, high=8),
            cors_origins=_cors_origins(environment),
            casino_time_zone=_time_zone(environment),
        )


@dataclass(frozen=True, slots=True)
class MetricsSettings:
    """The folder of the workers' metrics, or None without one, and the address of the metrics server."""

    folder: Path | None
    host: str
    port: int
    log_level: str

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] = os.environ) -> Self:
        """Read the settings. Raise SettingsError if a variable is missing or invalid."""
        folder = environment.get(NAMES.metrics_folder)
        return cls(
            folder=Path(folder) if folder else None,
            host=_host(environment),
            port=_integer(environment, NAMES.metrics_port, default=CONTRACT.metrics_port, low=1, high=65535),
            log_level=_log_level(environment),
        )


@dataclass(frozen=True, slots=True)
class Administrator:
    """Name and password of the first administrator, from the environment."""

    name: str
    password: str


@dataclass(frozen=True, slots=True)
class UpgradeSettings:
    """The settings of a migration: the owner's URL, amounts in hundredths, and optionally an administrator."""

    owner_url: URL
    house_bankroll: int
    opening_balance: int  # of each new player
    administrator: Administrator | None

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] = os.environ) -> Self:
        """Read the settings. Raise SettingsError if a variable is missing or invalid."""
        return cls(
            owner_url=database_url(environment, NAMES.database_owner_url),
            house_bankroll=_amount(environment, NAMES.house_bankroll, default="10000000", maximum=100 * MAX_AMOUNT),
            opening_balance=_amount(environment, NAMES.opening_balance, default="1000", maximum=MAX_AMOUNT),
            administrator=_administrator(environment),
        )


def database_urls(environment: Mapping[str, str] = os.environ) -> list[URL]:
    """Return the URLs in the environment, the owner's first. Raise SettingsError if there is none."""
    names = [name for name in (NAMES.database_owner_url, NAMES.database_url) if environment.get(name)]
    return [database_url(environment, name) for name in names or [NAMES.database_url]]


def database_url(environment: Mapping[str, str], name: str) -> URL:
    """Read a PostgreSQL URL. Raise SettingsError if it is missing or incomplete."""
    form = "postgresql://user:password@host:port/database"
    text = environment.get(name)
    if not text:
        raise SettingsError(f"{name} is not set: set it to a URL such as {form}.")
    try:
        url = make_url(text)
    except (ArgumentError, ValueError):
        raise SettingsError(f"{name} is not a URL: it takes {form}.") from None
    if url.get_backend_name() != "postgresql" or not (url.host and url.username and url.database):
        raise SettingsError(f"{name} is not a full PostgreSQL URL: it takes {form}.")
    return url


def _secret_key(environment: Mapping[str, str]) -> bytes:
    text = environment.get(NAMES.secret_key, "")
    if len(text) < MIN_SECRET:
        raise SettingsError(
            f"{NAMES.secret_key} is missing or too short: set it to at least {MIN_SECRET} random characters."
        )
    return text.encode()


def _host(environment: Mapping[str, str]) -> str:
    return environment.get(NAMES.host) or "0.0.0.0"  # noqa: S104  # clients are outside the container


def _integer(environment: Mapping[str, str], name: str, *, default: int, low: int, high: int) -> int:
    text = environment.get(name) or str(default)
    if not (text.isascii() and text.isdigit() and low <= int(text) <= high):
        raise SettingsError(f"{name} is {text!r}: it takes a whole number from {low} to {high}.")
    return int(text)


def _log_level(environment: Mapping[str, str]) -> str:
    text = environment.get(NAMES.log_level) or "info"
    if text not in LOG_LEVELS:
        raise SettingsError(f"{NAMES.log_level} is {text!r}: it takes one of {', '.join(LOG_LEVELS)}.")
    return text


def _rate_limits(environment: Mapping[str, str]) -> Mapping[Limit, str]:
    text = environment.get(NAMES.rate_limits) or "on"
    if text == "off":
        return {}
    items = [] if text == "on" else text.split(",")
    return {**RATES, **dict(_rate_limit(item, text) for item in items)}


def _rate_limit(item: str, text: str) -> tuple[Limit, str]:
    limits = CONTRACT.rate_limits
    override = limits.override.fullmatch(item)
    if override is None or override["name"] not in limits.defaults:
        wrong = "" if item == text else f", in which {item!r} is invalid"
        raise SettingsError(
            f"{NAMES.rate_limits} is {text!r}{wrong}: it takes {limits.form} (names: {', '.join(limits.defaults)})."
        )
    return Limit(override["name"]), override["rate"]


def _cors_origins(environment: Mapping[str, str]) -> frozenset[str]:
    text = environment.get(NAMES.cors_origins) or ""
    items = [CONTRACT.cors_origin.fullmatch(item) for item in text.split(",")] if text else []
    origins = [item["origin"] for item in items if item]
    if len(origins) < len(items):
        raise SettingsError(
            f"{NAMES.cors_origins} is {text!r}: it takes exact origins such as https://panel.example.org,http://localhost:5173"
            " (no path, no *)."
        )
    return frozenset(origins)


def _time_zone(environment: Mapping[str, str]) -> ZoneInfo:
    text = environment.get(NAMES.casino_time_zone) or "UTC"
    try:
        return ZoneInfo(text)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise SettingsError(
            f"{NAMES.casino_time_zone} is {text!r}: it takes the name of a time zone such as Europe/Berlin."
        ) from None


def _amount(environment: Mapping[str, str], name: str, *, default: str, maximum: int) -> int:
    """Read an amount of ¤ and return it in hundredths, which are at most `maximum`."""
    text = environment.get(name) or default
    try:
        return parse_amount(text, maximum=maximum)
    except ValueError as error:
        raise SettingsError(f"{name} is {text!r}: {error}") from None


def _administrator(environment: Mapping[str, str]) -> Administrator | None:
    name, password = environment.get(NAMES.admin_name), environment.get(NAMES.admin_password)
    if name and password:
        return Administrator(name, password)
    if name or password:
        raise SettingsError(f"{NAMES.admin_name} and {NAMES.admin_password} go together: set both or neither.")
    return None
