"""The names and rules that the service shares with its deployment tools, read once from contract.toml."""

import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import files


@dataclass(frozen=True, slots=True)
class Environment:
    """The names of the environment variables that the service reads."""

    database_url: str
    database_owner_url: str
    secret_key: str
    admin_name: str
    admin_password: str
    workers: str
    threads: str
    connections: str
    host: str
    port: str
    log_level: str
    house_bankroll: str
    opening_balance: str
    rate_limits: str
    trusted_proxies: str
    metrics_folder: str
    metrics_port: str
    cors_origins: str
    casino_time_zone: str


@dataclass(frozen=True, slots=True)
class RateLimits:
    """The names of the rate limits with their default rates, and the grammar of the variable that replaces them."""

    override: re.Pattern[str]
    form: str
    defaults: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Contract:
    """The part of contract.toml that the service uses."""

    environment: Environment
    rate_limits: RateLimits
    cors_origin: re.Pattern[str]
    serve: tuple[str, ...]
    http_port: int
    database_port: int
    metrics_port: int
    live_path: str
    ready_path: str
    metrics_path: str


def load() -> Contract:
    """Read the contract.toml that is installed with the package."""
    text = files("neobank").joinpath("contract.toml").read_text(encoding="utf-8")
    document = tomllib.loads(text)
    limits = document["rate_limits"]
    return Contract(
        environment=Environment(**document["environment"]),
        rate_limits=RateLimits(
            override=re.compile(limits["override"]), form=limits["form"], defaults=limits["defaults"]
        ),
        cors_origin=re.compile(document["cors_origins"]["item"]),
        serve=tuple(document["commands"]["serve"]),
        http_port=document["ports"]["http"],
        database_port=document["ports"]["database"],
        metrics_port=document["ports"]["metrics"],
        live_path=document["paths"]["live"],
        ready_path=document["paths"]["ready"],
        metrics_path=document["paths"]["metrics"],
    )


CONTRACT = load()
