"""The names and rules that the program shares with the service: it reads contract.toml, and imports nothing of it."""

import tomllib
from pathlib import Path

from pydantic import BaseModel, ConfigDict

CHECKOUT = Path(__file__).resolve().parent.parent
CONTEXT = CHECKOUT / "service"
CONTAINERFILE = CHECKOUT / "Containerfile"


class _Names(BaseModel):
    model_config = ConfigDict(frozen=True, strict=True)


class Image(_Names):
    """The service's image and the UID that it runs as."""

    repository: str
    uid: int


class Ports(_Names):
    """TCP ports."""

    http: int
    database: int
    metrics: int


class Paths(_Names):
    """Paths of the service for probes and for Prometheus."""

    live: str
    ready: str
    metrics: str


class Database(_Names):
    """The database, and the login of each role."""

    name: str
    owner: str
    applications: list[str]
    backup: str
    metrics: str


class Environment(_Names):
    """The names of the service's environment variables that the program sets."""

    database_url: str
    database_owner_url: str
    secret_key: str
    admin_name: str
    admin_password: str
    workers: str
    threads: str
    connections: str
    port: str
    rate_limits: str
    trusted_proxies: str
    cors_origins: str
    casino_time_zone: str
    metrics_folder: str
    house_bankroll: str
    opening_balance: str


class RateLimits(_Names):
    """The names of the rate limits with their default rates, and the grammar of the variable that replaces them."""

    override: str
    form: str
    defaults: dict[str, str]


class CorsOrigins(_Names):
    """The grammar of the CORS origins."""

    item: str


class Commands(_Names):
    """The commands of the image's containers."""

    serve: list[str]
    upgrade: list[str]
    close: list[str]
    expire: list[str]
    metrics: list[str]
    figures: list[str]


class Contract(_Names):
    """The part of contract.toml that the program uses."""

    image: Image
    ports: Ports
    paths: Paths
    database: Database
    environment: Environment
    rate_limits: RateLimits
    cors_origins: CorsOrigins
    commands: Commands


def load() -> Contract:
    """Read the contract. Raise pydantic.ValidationError if the file lacks a name."""
    text = (CONTEXT / "neobank" / "contract.toml").read_text(encoding="utf-8")
    return Contract.model_validate(tomllib.loads(text))


CONTRACT = load()
