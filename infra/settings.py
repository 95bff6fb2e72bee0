"""The stack's configuration: read once, checked whole, and typed from there on.

Every key has a default. Whatever is wrong is said before the first resource is registered, all of it at once, one
sentence for each: the key, its value, and what is allowed.
"""

import json
import os
import re
from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from functools import cached_property
from typing import Annotated, Literal, Self

import pulumi
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, StringConstraints, ValidationError
from pydantic.alias_generators import to_camel
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails

from contract import CONTAINERFILE, CONTEXT
from image import ImageError, image_reference

_NAME = r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?"
_SUBDOMAIN = rf"{_NAME}(\.{_NAME})*"
_MEBIBYTES = {"Mi": 1, "Gi": 1024, "Ti": 1024 * 1024}
_DATE = r"[0-9]{4}-(0[1-9]|1[0-2])-(0[1-9]|[12][0-9]|3[01])"


@dataclass(frozen=True)
class Allowed:
    """What a key takes, in the words of its error message and of the documentation."""

    words: str


def mebibytes(quantity: str) -> int:
    """Give a quantity such as `512Mi` or `10Gi` in MiB."""
    return int(quantity[:-2]) * _MEBIBYTES[quantity[-2:]]


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


def _day(value: object) -> object:
    """Undo what the engine's YAML reader makes of a date that stands without quotes."""
    return value.removesuffix(" 00:00:00 +0000 UTC") if isinstance(value, str) else value


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
    _matching(r"[a-z0-9]+([._:/-]+[a-z0-9]+)*"),
    Allowed("an image name without a tag, such as registry.example/neobank"),
]
Switch = Annotated[bool, Allowed("true or false")]
Cpu = Annotated[str, _matching(r"([1-9][0-9]{0,5}m|[1-9][0-9]{0,2})"), Allowed("CPUs such as 250m or 2")]
Volume = Annotated[str, _at_least("1Gi"), Allowed("a size of at least 1Gi, such as 10Gi")]
DatabaseMemory = Annotated[str, _at_least("512Mi"), Allowed("a size of at least 512Mi, such as 1Gi")]
ApplicationMemory = Annotated[str, _at_least("256Mi"), Allowed("a size of at least 256Mi, such as 512Mi")]
RateLimits = Annotated[
    str,
    _matching(
        r"(on|off|[a-z]+=[1-9][0-9]{0,5}/(second|minute|hour|day)(,[a-z]+=[1-9][0-9]{0,5}/(second|minute|hour|day))*)"
    ),
    Allowed("on, off, or other limits such as payments=60/minute,logins=9/hour"),
]
Count = Annotated[int, Field(ge=1, le=64), Allowed("a whole number from 1 to 64")]
Seconds = Annotated[
    Annotated[int, Field(ge=1, le=2_592_000)] | None, Allowed("seconds from 1 to 2592000 (30 days), or null for never")
]
RotationNumber = Annotated[int, Field(ge=1, le=1_000_000), Allowed("a whole number from 1 to 1000000")]
Since = Annotated[str, BeforeValidator(_day), _matching(f"({_DATE})?"), Allowed("a date such as 2026-11-22, or ''")]
Bankroll = Annotated[int, Field(ge=1, le=10**11), Allowed("whole ¤ from 1 to 100000000000")]
PlayerName = Annotated[
    str,
    StringConstraints(
        min_length=1, max_length=100, pattern=r"^[^\s\x00-\x1f\x7f](.*[^\s\x00-\x1f\x7f])?$", strict=True
    ),
    Allowed("a name of 1 to 100 visible characters"),
]


class _Section(BaseModel):
    """A nested object of the stack file; its keys are written in camel case there."""

    model_config = ConfigDict(alias_generator=to_camel, extra="forbid", frozen=True, strict=True)


class Postgres(_Section):
    """The database server."""

    major: Annotated[Literal[16, 17, 18], Allowed("16, 17 or 18")] = Field(
        default=16, description="Major version; a kept volume stays with the one that made it."
    )
    flavour: Annotated[Literal["alpine", "debian"], Allowed("alpine or debian")] = Field(
        default="alpine", description="Which official image; a kept volume stays with the one that made it."
    )
    storage: Volume = Field(default="10Gi", description="Size of the volume.")
    existing_claim: ObjectName = Field(
        default="", description="A kept PersistentVolumeClaim to use in place of a new one."
    )
    cpu: Cpu = Field(default="250m", description="CPU that is set aside.")
    memory: DatabaseMemory = Field(default="1Gi", description="Memory that is set aside, and the most there is.")


class Application(_Section):
    """The pods that serve the bank."""

    replicas: Count = Field(default=2, description="How many pods.")
    workers: Count = Field(default=2, description="gunicorn processes in a pod.")
    threads: Count = Field(default=8, description="Threads, and database connections at most, of a process.")
    rate_limits: RateLimits = Field(default="on", description="How often one caller may ask; off is for rehearsals.")
    cpu: Cpu = Field(default="250m", description="CPU that is set aside for a pod.")
    memory: ApplicationMemory = Field(
        default="512Mi", description="Memory that is set aside for a pod, and the most there is."
    )


class Migration(_Section):
    """The Job that brings the schema up to date."""

    ttl_seconds: Seconds = Field(
        default=None,
        description="Delete a finished Job after so many seconds; `pulumi refresh` then makes it run again.",
    )


class Rotation(_Section):
    """How often one secret has been replaced."""

    number: RotationNumber = Field(default=1, description="Another number makes another secret.")
    since: Since = Field(default="", description="The day of the last rotation, for whoever reads the file.")


class Rotations(_Section):
    """Each secret has a number of its own."""

    owner: Rotation = Field(default=Rotation(), description="Password of the role that migrates.")
    application: Rotation = Field(default=Rotation(), description="Password of the role that serves.")
    backup: Rotation = Field(default=Rotation(), description="Password of the role that reads everything.")
    metrics: Rotation = Field(default=Rotation(), description="Password of the role that reads statistics.")
    secret_key: Rotation = Field(default=Rotation(), description="SECRET_KEY; another one logs everybody out.")
    admin: Rotation = Field(default=Rotation(), description="Password of the first administrator.")


class Casino(_Section):
    """The games."""

    bankroll: Bankroll = Field(default=10_000_000, description="What the house starts with, in whole ¤.")


class Settings(_Section):
    """One stack's configuration. Scalar keys are declared with the same defaults in Pulumi.yaml."""

    namespace: Label = Field(default="neotropolis", description="Where everything lives.")
    create_namespace: Switch = Field(default=True, description="Make the namespace, or use one that exists.")
    protect_data: Switch = Field(default=True, description="Refuse to delete the namespace and the volume.")
    kube_context: Context = Field(default="", description="Which context of the kubeconfig; '' is the current one.")
    image_repository: Repository = Field(
        default="neobank", description="Where the service's image is, unless NEOBANK_IMAGE names it."
    )
    storage_class: ObjectName = Field(default="", description="Class of the volume; '' is the cluster's default.")
    admin_name: PlayerName = Field(default="admin", description="The first administrator.")
    postgres: Postgres = Field(default=Postgres(), description="The database server.")
    application: Application = Field(default=Application(), description="The pods that serve the bank.")
    migration: Migration = Field(default=Migration(), description="The Job that brings the schema up to date.")
    rotation: Rotations = Field(default=Rotations(), description="Raising a number replaces that secret.")
    casino: Casino = Field(default=Casino(), description="The games.")

    @cached_property
    def image(self) -> str:
        """The service's image. Raises pulumi.RunError where it can't be told."""
        try:
            return image_reference(os.environ, self.image_repository, CONTEXT, CONTAINERFILE)
        except ImageError as error:
            raise pulumi.RunError(str(error)) from None

    @classmethod
    def load(cls) -> Self:
        """Read what the engine passes for this stack. Raises pulumi.RunError, which it prints without a traceback."""
        prefix = f"{pulumi.get_project()}:"
        texts = pulumi.runtime.get_config_env()
        values = {key.removeprefix(prefix): text for key, text in texts.items() if key.startswith(prefix)}
        hidden = {key for key in values if pulumi.runtime.is_config_secret(prefix + key)}
        settings = cls.read(values, hidden=hidden)
        _ = settings.image  # must be known before the first resource
        return settings

    @classmethod
    def read(cls, texts: Mapping[str, str], *, hidden: AbstractSet[str] = frozenset()) -> Self:
        """Check the texts; the values of hidden keys are not repeated in a message. Raises pulumi.RunError."""
        values = {key: _decode(key, text) for key, text in texts.items()}
        try:
            return cls.model_validate(values)
        except ValidationError as error:
            sentences = [_sentence(details, hidden) for details in error.errors()]
        raise pulumi.RunError("\n".join(["The stack's configuration is not valid; nothing was changed.", *sentences]))


@dataclass(frozen=True)
class Key:
    """A key as the stack file writes it."""

    name: str
    info: FieldInfo

    @property
    def section(self) -> type[BaseModel] | None:
        """What a nested object holds."""
        annotation = self.info.annotation
        return annotation if isinstance(annotation, type) and issubclass(annotation, BaseModel) else None

    @property
    def allowed(self) -> str:
        """What the key takes, in words."""
        if self.section is not None:
            return f"an object with the keys {', '.join(keys(self.section))}"
        return next(item.words for item in self.info.metadata if isinstance(item, Allowed))


def keys(section: type[BaseModel]) -> dict[str, Key]:
    """Give the keys of a section by name, in order."""
    return {info.alias or name: Key(info.alias or name, info) for name, info in section.model_fields.items()}


def _decode(name: str, text: str) -> object:
    """Read one value: the engine passes strings as they are and everything else as JSON."""
    key = keys(Settings).get(name)
    if key is None or key.info.annotation is str:
        return text
    try:
        return json.loads(text)
    except ValueError:
        return text


def _sentence(details: ErrorDetails, hidden: AbstractSet[str]) -> str:
    path = [str(part) for part in details["loc"]]
    known: dict[str, Key] = keys(Settings)
    for part in path[:-1]:
        section = known[part].section
        known = keys(section) if section else {}
    if path[-1] not in known:
        return f"{'.'.join(path)} is not a key: there are {', '.join(known)}."
    value = "a secret" if path[0] in hidden else json.dumps(details["input"], ensure_ascii=False, default=str)
    return f"{'.'.join(path)} is {value}: it takes {known[path[-1]].allowed}."
