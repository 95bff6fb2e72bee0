"""The types of the values in a stack file, each with its validation and its description for error messages."""

import json
import re
import unicodedata
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Annotated

from pydantic import AfterValidator, BeforeValidator, Field, StringConstraints

from contract import CONTRACT

_NAME = r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?"
_SUBDOMAIN = rf"{_NAME}(\.{_NAME})*"
_REPOSITORY = r"[a-z0-9]+([._:/-]+[a-z0-9]+)*"
_MEBIBYTES = {"Mi": 1, "Gi": 1024, "Ti": 1024 * 1024}
_DATE = r"[0-9]{4}-(0[1-9]|1[0-2])-(0[1-9]|[12][0-9]|3[01])"


@dataclass(frozen=True)
class Allowed:
    """A description of the values that a key takes, for its error message and for the documentation."""

    text: str


def mebibytes(quantity: str) -> int:
    """Convert a quantity such as `512Mi` or `10Gi` to MiB."""
    return int(quantity[:-2]) * _MEBIBYTES[quantity[-2:]]


def millicores(quantity: str) -> int:
    """Convert a number of CPUs such as `250m` or `2` to thousandths."""
    return int(quantity[:-1]) if quantity.endswith("m") else 1000 * int(quantity)


def _at_least(minimum: str) -> BeforeValidator:
    def check(value: object) -> object:
        if (
            isinstance(value, str)
            and re.fullmatch(r"[1-9][0-9]{0,5}(Mi|Gi|Ti)", value)
            and mebibytes(value) >= mebibytes(minimum)
        ):
            return value
        raise ValueError

    return BeforeValidator(check)


def _server_settings(value: object) -> dict[str, str]:
    """Convert numbers and booleans to the text of postgresql.conf. Raise ValueError if a name or value is malformed."""
    if not isinstance(value, dict):
        raise ValueError  # noqa: TRY004  # pydantic reports ValueError, but not TypeError
    texts = {name: json.dumps(it) if isinstance(it, bool | int | float) else it for name, it in value.items()}
    for name, text in texts.items():
        if not re.fullmatch(r"[a-z][a-z0-9_]*(\.[a-z][a-z0-9_]*)?", name):
            raise ValueError
        if not (isinstance(text, str) and re.fullmatch(r"[A-Za-z0-9_.,:*/% +-]{0,200}", text)):
            raise ValueError
    return texts


def _day(value: object) -> object:
    """Restore a date without quotes, which the engine's YAML reader turns into a time."""
    return value.removesuffix(" 00:00:00 +0000 UTC") if isinstance(value, str) else value


def _rate_limits(text: str) -> str:
    """Validate the value by the grammar of contract.toml, which the service also uses. Raise ValueError if invalid."""
    if text not in {"on", "off"}:
        _check_items(text, _is_rate_limit)
    return text


def _is_rate_limit(item: str) -> bool:
    override = re.fullmatch(CONTRACT.rate_limits.override, item)
    return override is not None and override["name"] in CONTRACT.rate_limits.defaults


def _origins(text: str) -> str:
    """Validate the value by the grammar of contract.toml, which the service also uses. Raise ValueError if invalid."""
    if text:
        _check_items(text, lambda item: bool(re.fullmatch(CONTRACT.cors_origins.item, item)))
    return text


def _check_items(text: str, is_valid: Callable[[str], bool]) -> None:
    """Raise ValueError with the first invalid item of a list, or with no text if that item is the whole list."""
    for item in text.split(","):
        if not is_valid(item):
            raise ValueError("" if item == text else item)


@cache
def _time_zones() -> frozenset[str]:
    """Return the names of the package tzdata, which the image of the service contains in the same version."""
    return frozenset(files("tzdata").joinpath("zones").read_text(encoding="utf-8").split())


def _time_zone(text: str) -> str:
    if text not in _time_zones():
        raise ValueError
    return text


def _visible(text: str) -> str:
    """Raise ValueError for a name that the service may refuse. It knows which characters are invisible, this does not.

    The service replaces white space by one space. Marks, and symbols that are not ASCII, are refused, because some are
    invisible; the only invisible letters are fillers.
    """
    shown = "".join(text.split())
    visible = all(unicodedata.category(it)[0] in "LNP" or it.isascii() for it in shown) and shown.isprintable()
    if not visible or not any(map(str.isalnum, shown)) or any("FILLER" in unicodedata.name(it, "") for it in shown):
        raise ValueError
    return text


def _matching(pattern: str) -> StringConstraints:
    return StringConstraints(pattern=f"^{pattern}$", strict=True)


Label = Annotated[str, _matching(_NAME), Allowed("a DNS label: 1 to 63 of a-z, 0-9 and '-'")]
ObjectName = Annotated[
    str, _matching(f"({_SUBDOMAIN})?"), Allowed("the name of an object in the cluster (a-z, 0-9, '-' and '.'), or ''")
]
Context = Annotated[
    str, _matching(r"\S{0,253}"), Allowed("the name of a context in the kubeconfig, or '' for the current one")
]
Repository = Annotated[
    str,
    _matching(_REPOSITORY),
    Allowed("an image name without a tag, such as registry.example/neobank"),
]
PinnedImage = Annotated[
    str,
    _matching(rf"({_REPOSITORY}@sha256:[0-9a-f]{{64}})?"),
    Allowed("an image with a digest, such as registry.example/name@sha256:…, or ''"),
]
Switch = Annotated[bool, Allowed("true or false")]
Cpu = Annotated[str, _matching(r"([1-9][0-9]{0,5}m|[1-9][0-9]{0,2})"), Allowed("CPUs such as 250m or 2")]
ServerSettings = Annotated[
    dict[str, str],
    BeforeValidator(_server_settings),
    Allowed("names and values of postgresql.conf, such as {work_mem: 8MB}"),
]
Volume = Annotated[str, _at_least("1Gi"), Allowed("a size of at least 1Gi, such as 10Gi")]
DatabaseMemory = Annotated[str, _at_least("512Mi"), Allowed("a size of at least 512Mi, such as 1Gi")]
ApplicationMemory = Annotated[str, _at_least("256Mi"), Allowed("a size of at least 256Mi, such as 512Mi")]
RateLimits = Annotated[
    str,
    AfterValidator(_rate_limits),
    Allowed(f"{CONTRACT.rate_limits.form} (names: {', '.join(CONTRACT.rate_limits.defaults)})"),
]
Origins = Annotated[
    str,
    AfterValidator(_origins),
    Allowed("exact origins such as https://panel.example.org, with commas between them, or ''"),
]
Count = Annotated[int, Field(ge=1, le=64), Allowed("a whole number from 1 to 64")]
Threads = Annotated[int, Field(ge=2, le=512), Allowed("a whole number from 2 to 512")]
Connections = Annotated[int, Field(ge=1, le=500), Allowed("a whole number from 1 to 500")]
Maximum = Annotated[
    Annotated[int, Field(ge=1, le=64)] | None, Allowed("a whole number from 1 to 64, or null for as many as `replicas`")
]
Percent = Annotated[int, Field(ge=10, le=95), Allowed("a whole number from 10 to 95")]
Proxies = Annotated[int, Field(ge=1, le=8), Allowed("a whole number from 1 to 8")]
Host = Annotated[
    str,
    _matching(rf"({_NAME}(\.{_NAME})+)?"),
    Allowed("a host name such as bank.example.org, or ''"),
]
Seconds = Annotated[
    Annotated[int, Field(ge=1, le=2_592_000)] | None, Allowed("seconds from 1 to 2592000 (30 days), or null for never")
]
RotationNumber = Annotated[int, Field(ge=1, le=1_000_000), Allowed("a whole number from 1 to 1000000")]
Since = Annotated[str, BeforeValidator(_day), _matching(f"({_DATE})?"), Allowed("a date such as 2026-11-22, or ''")]
OpeningBalance = Annotated[int, Field(ge=1, le=10**9), Allowed("whole ¤ from 1 to 1000000000")]
Bankroll = Annotated[int, Field(ge=1, le=10**11), Allowed("whole ¤ from 1 to 100000000000")]
TimeZone = Annotated[str, AfterValidator(_time_zone), Allowed("a time zone's name such as Europe/Berlin")]
PlayerName = Annotated[
    str,
    StringConstraints(
        min_length=1, max_length=100, pattern=r"^[^\s\x00-\x1f\x7f](.*[^\s\x00-\x1f\x7f])?$", strict=True
    ),
    AfterValidator(_visible),
    Allowed("a name of 1 to 100 visible characters, with a letter or a digit"),
]
