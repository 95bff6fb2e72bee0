"""The stack's configuration: read once, checked whole, and typed from there on.

Every key has a default. Whatever is wrong is said before the first resource is registered, all of it at once, one
sentence for each: the key, its value, and what is allowed.
"""

import json
import os
import re
from collections.abc import Iterator, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from functools import cached_property
from typing import Annotated, Literal, Self

import pulumi
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic.alias_generators import to_camel
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails

import tuning
from contract import CONTAINERFILE, CONTEXT
from image import ImageError, image_reference
from values import (
    Allowed,
    ApplicationMemory,
    Bankroll,
    Connections,
    Context,
    Count,
    Cpu,
    DatabaseMemory,
    Host,
    Label,
    Maximum,
    ObjectName,
    Origins,
    Percent,
    PinnedImage,
    PlayerName,
    Proxies,
    RateLimits,
    Repository,
    RotationNumber,
    Seconds,
    ServerSettings,
    Since,
    Switch,
    TimeZone,
    Volume,
    millicores,
)

_SECRET = re.compile(r"(?i)passw|secret|token|credential")


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
    cpu_limit: Cpu = Field(default="2", description="The most CPU there is.")
    memory: DatabaseMemory = Field(default="1Gi", description="Memory that is set aside, and the most there is.")
    settings: ServerSettings = Field(default={}, description="Settings of the server that outrank those by its size.")
    tls: Switch = Field(default=False, description="Speak TLS alone, with a certificate that every client verifies.")
    tls_secret: ObjectName = Field(
        default="", description="A Secret with tls.crt, tls.key and ca.crt in place of a certificate made here."
    )


class PgBouncer(_Section):
    """What lets the bank's threads share connections to the database."""

    enabled: Switch = Field(default=False, description="Put PgBouncer between the bank and the database.")
    image: PinnedImage = Field(default="", description="An image with `pgbouncer` on its PATH; none is official.")
    replicas: Count = Field(default=2, description="How many pods.")
    connections: Connections = Field(default=20, description="Connections to the database of a pod, at most.")


class Application(_Section):
    """The pods that serve the bank."""

    replicas: Count = Field(default=2, description="How many pods; with maxReplicas, how many at least.")
    max_replicas: Maximum = Field(default=None, description="How many pods under load, by a HorizontalPodAutoscaler.")
    target_cpu: Percent = Field(default=70, description="Per cent of `cpu` above which maxReplicas allows more pods.")
    disruption_budget: Switch = Field(
        default=False, description="Let whoever drains nodes take one pod at a time, by a PodDisruptionBudget."
    )
    workers: Count = Field(default=2, description="gunicorn processes in a pod.")
    threads: Count = Field(default=8, description="Threads, and database connections at most, of a process.")
    rate_limits: RateLimits = Field(default="on", description="How often one caller may ask; off is for rehearsals.")
    cors_origins: Origins = Field(default="", description="Pages of other origins that may ask the bank; '' is none.")
    cpu: Cpu = Field(default="250m", description="CPU that is set aside for a pod.")
    cpu_limit: Cpu = Field(default="2", description="The most CPU there is for a pod.")
    memory: ApplicationMemory = Field(
        default="512Mi", description="Memory that is set aside for a pod, and the most there is."
    )


class Ingress(_Section):
    """The way in from outside the cluster, through a controller that is there already."""

    enabled: Switch = Field(default=False, description="Make an Ingress; without one there is the port-forward.")
    class_name: ObjectName = Field(default="", description="Which controller; '' is the cluster's default.")
    host: Host = Field(default="", description="The host name that players type.")
    tls_secret: ObjectName = Field(default="", description="The Secret with the host's certificate, if it exists.")
    cluster_issuer: ObjectName = Field(default="", description="cert-manager's issuer of a certificate for the host.")
    namespace: Label = Field(default="traefik", description="Where the controller runs; only it may reach the bank.")
    trusted_proxies: Proxies = Field(
        default=1, description="Proxies whose X-Forwarded-For counts: the controller, and each one before it."
    )
    wait: Switch = Field(default=False, description="Wait until the controller has given the Ingress an address.")

    @property
    def tls(self) -> bool:
        """Whether the host has a certificate."""
        return bool(self.tls_secret or self.cluster_issuer)


class Network(_Section):
    """Who may talk to whom."""

    policies: Switch = Field(default=False, description="Forbid all traffic but what the bank needs.")
    monitoring_namespace: Label = Field(default="monitoring", description="Where Prometheus runs.")


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
    tls: Rotation = Field(default=Rotation(), description="Certificate of the database's server.")
    secret_key: Rotation = Field(default=Rotation(), description="SECRET_KEY; another one logs everybody out.")
    admin: Rotation = Field(default=Rotation(), description="Password of the first administrator.")


class Casino(_Section):
    """The games."""

    bankroll: Bankroll = Field(default=10_000_000, description="What the house starts with, in whole ¤.")
    time_zone: TimeZone = Field(default="UTC", description="By whose clocks the casino's day starts, at 06:00.")


class Settings(_Section):
    """One stack's configuration. Scalar keys are declared with the same defaults in Pulumi.yaml."""

    namespace: Label = Field(default="neotropolis", description="Where everything lives.")
    create_namespace: Switch = Field(default=True, description="Make the namespace, or use one that exists.")
    protect_data: Switch = Field(default=True, description="Refuse to delete the namespace and the volume.")
    production: Switch = Field(
        default=False, description="Refuse what no event should run on; docs/production.md has the list."
    )
    priority_classes: Switch = Field(
        default=False, description="Make PriorityClasses, so that a full node keeps the database, then the bank."
    )
    kube_context: Context = Field(default="", description="Which context of the kubeconfig; '' is the current one.")
    image_repository: Repository = Field(
        default="neobank", description="Where the service's image is, unless NEOBANK_IMAGE names it."
    )
    storage_class: ObjectName = Field(default="", description="Class of the volume; '' is the cluster's default.")
    admin_name: PlayerName = Field(default="admin", description="The first administrator.")
    postgres: Postgres = Field(default=Postgres(), description="The database server.")
    pgbouncer: PgBouncer = Field(default=PgBouncer(), description="What lets threads share connections.")
    application: Application = Field(default=Application(), description="The pods that serve the bank.")
    ingress: Ingress = Field(default=Ingress(), description="The way in from outside the cluster.")
    network: Network = Field(default=Network(), description="Who may talk to whom.")
    migration: Migration = Field(default=Migration(), description="The Job that brings the schema up to date.")
    rotation: Rotations = Field(default=Rotations(), description="Raising a number replaces that secret.")
    casino: Casino = Field(default=Casino(), description="The games.")

    @cached_property
    def image(self) -> str:
        """The service's image. Raises pulumi.RunError where it can't be told."""
        try:
            found = image_reference(os.environ, self.image_repository, CONTEXT, CONTAINERFILE)
        except ImageError as error:
            raise pulumi.RunError(str(error)) from None
        if self.production and "@sha256:" not in found:
            raise pulumi.RunError(
                f"The image {found} has no digest: where production is true, NEOBANK_IMAGE takes one."
            )
        return found

    def contradictions(self) -> Iterator[str]:
        """Give a sentence for each pair of settings that do not go together."""
        bank, ingress = self.application, self.ingress
        if bank.max_replicas is not None and bank.max_replicas < bank.replicas:
            yield f"application.maxReplicas is {bank.max_replicas}: that is less than application.replicas."
        if bank.disruption_budget and bank.replicas == 1:
            yield "application.disruptionBudget is true: with one pod nobody could drain its node; set two replicas."
        for name, section in (("postgres", self.postgres), ("application", bank)):
            if millicores(section.cpu) > millicores(section.cpu_limit):
                yield f"{name}.cpu is {section.cpu}: that is more than {name}.cpuLimit, which is {section.cpu_limit}."
        if ingress.enabled and not ingress.host:
            yield 'ingress.host is "": an Ingress needs the name that players type.'
        elif ingress.tls and not ingress.host:
            yield 'ingress.host is "": a certificate (ingress.tlsSecret, ingress.clusterIssuer) needs a host name.'
        if ingress.tls_secret and ingress.cluster_issuer:
            yield "ingress.tlsSecret and ingress.clusterIssuer are both set: name the one that gives the certificate."
        yield from self._contradictions_of_the_database()
        if self.production:
            yield from (f"{sentence[:-1]}, where production is true." for sentence in self.missing_for_production())

    def _contradictions_of_the_database(self) -> Iterator[str]:
        postgres, needed = self.postgres, self.connections()
        for name in filter(tuning.is_own, postgres.settings):
            yield f"postgres.settings.{name} is the program's own, as are access, files and durability: leave it out."
        if not tuning.fits(cache := postgres.settings.get("shared_buffers", "0"), postgres.memory):
            yield (
                f"postgres.settings.shared_buffers is {cache}: with /dev/shm ({tuning.SHARED_MEMORY}) that is more "
                f"than postgres.memory, which is {postgres.memory}."
            )
        if needed > (most := tuning.max_connections(postgres.memory)):
            who, remedy = "the bank's threads", "set pgbouncer.enabled"
            if self.pgbouncer.enabled:
                who, remedy = "PgBouncer's", "lower pgbouncer.connections"
            if most < tuning.MOST_CONNECTIONS:
                remedy = f"raise it, or {remedy}"
            yield (
                f"postgres.memory is {postgres.memory}: that is for {most} connections, and {who}, with one pod more "
                f"while they roll, and others take {needed}: {remedy}."
            )
        if self.pgbouncer.enabled and not self.pgbouncer.image:
            yield 'pgbouncer.image is "": name one with `pgbouncer` on its PATH, by its digest; none is official.'
        if postgres.tls_secret and not postgres.tls:
            yield f'postgres.tlsSecret is "{postgres.tls_secret}": it is read where postgres.tls is true.'

    def threads(self) -> int:
        """Say how many threads may want the database at the same time; one pod is added while they roll."""
        bank = self.application
        return ((bank.max_replicas or bank.replicas) + 1) * bank.workers * bank.threads

    def connections(self) -> int:
        """Say how many connections to the database there may be at the same time."""
        pooler = self.pgbouncer
        serving = (pooler.replicas + 1) * pooler.connections if pooler.enabled else self.threads()
        return serving + tuning.OTHER_CONNECTIONS

    def missing_for_production(self) -> Iterator[str]:
        """Give a sentence for each setting with which no event should run."""
        bank, ingress = self.application, self.ingress
        demands = [
            (self.kube_context != "", "kubeContext", "name the cluster, so that no other is changed"),
            (self.protect_data, "protectData", "it must be true"),
            (bank.replicas > 1, "application.replicas", "it takes at least 2, so that a pod can go"),
            (bank.disruption_budget, "application.disruptionBudget", "it must be true"),
            (bank.rate_limits != "off", "application.rateLimits", "off is for rehearsals"),
            (self.postgres.tls, "postgres.tls", "it must be true: passwords and balances pass between nodes"),
            (
                not self.pgbouncer.enabled or self.pgbouncer.replicas > 1,
                "pgbouncer.replicas",
                "it takes at least 2, so that a pod can go",
            ),
            (self.network.policies, "network.policies", "it must be true"),
            (
                not ingress.enabled or ingress.tls,
                "ingress.tlsSecret",
                "name a certificate's Secret, or an ingress.clusterIssuer: passwords must not travel in the clear",
            ),
        ]
        return (f"{key}: {what}." for met, key, what in demands if not met)

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
            settings = cls.model_validate(values)
        except ValidationError as error:
            raise _refused([_sentence(details, hidden) for details in error.errors()]) from None
        if contradictions := list(settings.contradictions()):
            raise _refused(contradictions)
        return settings


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


def _refused(sentences: list[str]) -> pulumi.RunError:
    return pulumi.RunError("\n".join(["The stack's configuration is not valid; nothing was changed.", *sentences]))


def _sentence(details: ErrorDetails, hidden: AbstractSet[str]) -> str:
    path = [str(part) for part in details["loc"]]
    known: dict[str, Key] = keys(Settings)
    for part in path[:-1]:
        section = known[part].section
        known = keys(section) if section else {}
    if path[-1] not in known and _SECRET.search(path[-1]):
        return f"{'.'.join(path)} is not a key: secrets are generated; a raised number under rotation makes another."
    if path[-1] not in known:
        return f"{'.'.join(path)} is not a key: there are {', '.join(known)}."
    value = "a secret" if path[0] in hidden else _described(details)
    return f"{'.'.join(path)} is {value}: it takes {known[path[-1]].allowed}."


def _described(details: ErrorDetails) -> str:
    """Quote a value, and the part of it that its check has found wrong."""
    quoted = json.dumps(details["input"], ensure_ascii=False, default=str)
    wrong = str(details.get("ctx", {}).get("error", "")) if details["type"] == "value_error" else ""
    return f"{quoted}, in which {json.dumps(wrong, ensure_ascii=False)} is invalid" if wrong else quoted
