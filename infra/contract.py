"""The names that the program and the service agree on, read from the one file that both read; never an import of it."""

import tomllib
from pathlib import Path

from pydantic import BaseModel, ConfigDict

CHECKOUT = Path(__file__).resolve().parent.parent
CONTEXT = CHECKOUT / "service"
CONTAINERFILE = CHECKOUT / "Containerfile"


class _Names(BaseModel):
    model_config = ConfigDict(frozen=True, strict=True)


class Image(_Names):
    """The service's image and the user it runs as."""

    repository: str
    uid: int


class Ports(_Names):
    """TCP ports."""

    http: int
    database: int
    metrics: int


class Paths(_Names):
    """Where the service answers its probes, and Prometheus."""

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
    """The names of the environment variables that the service reads, as far as the program sets them."""

    database_url: str
    database_owner_url: str
    secret_key: str
    admin_name: str
    admin_password: str
    workers: str
    threads: str
    port: str
    rate_limits: str
    trusted_proxies: str
    cors_origins: str
    casino_time_zone: str
    metrics_folder: str
    house_bankroll: str


class RateLimits(_Names):
    """The names of the rate limits with their default rates, and the grammar of the variable that replaces them."""

    override: str
    form: str
    defaults: dict[str, str]


class CorsOrigins(_Names):
    """The grammar of the variable."""

    item: str


class Commands(_Names):
    """What a container of the image runs."""

    serve: list[str]
    upgrade: list[str]
    close: list[str]
    expire: list[str]
    metrics: list[str]
    figures: list[str]


class Contract(_Names):
    """What the program needs to know of contract.toml."""

    image: Image
    ports: Ports
    paths: Paths
    database: Database
    environment: Environment
    rate_limits: RateLimits
    cors_origins: CorsOrigins
    commands: Commands


def load() -> Contract:
    """Read the contract. Raises pydantic.ValidationError where the file lacks a name."""
    text = (CONTEXT / "neobank" / "contract.toml").read_text(encoding="utf-8")
    return Contract.model_validate(tomllib.loads(text))


CONTRACT = load()
