"""The names that this service shares with whoever runs it, read once from contract.toml."""

import tomllib
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
    host: str
    port: str
    log_level: str
    house_bankroll: str
    rate_limits: str
    trusted_proxies: str
    metrics_folder: str
    metrics_port: str
    cors_origins: str
    casino_time_zone: str


@dataclass(frozen=True, slots=True)
class Contract:
    """What the service needs to know of contract.toml."""

    environment: Environment
    serve: tuple[str, ...]
    http_port: int
    database_port: int
    metrics_port: int
    live_path: str
    ready_path: str
    metrics_path: str


def load() -> Contract:
    """Read the contract that was installed with the package."""
    text = files("neobank").joinpath("contract.toml").read_text(encoding="utf-8")
    document = tomllib.loads(text)
    return Contract(
        environment=Environment(**document["environment"]),
        serve=tuple(document["commands"]["serve"]),
        http_port=document["ports"]["http"],
        database_port=document["ports"]["database"],
        metrics_port=document["ports"]["metrics"],
        live_path=document["paths"]["live"],
        ready_path=document["paths"]["ready"],
        metrics_path=document["paths"]["metrics"],
    )


CONTRACT = load()
