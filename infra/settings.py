"""The stack's configuration, read and validated once; the rest of the program uses the typed settings.

Every key has a default. All errors are reported together, before the first resource is registered, in one sentence
each: the key, its value, and what is allowed.
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
    OpeningBalance,
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
    Threads,
    TimeZone,
    Volume,
    mebibytes,
    millicores,
)

MEBIBYTES_A_WORKER = 128
"""Memory that a worker, and gunicorn's master, need: 77 MiB were measured under load, which is 60 %."""

_SECRET = re.compile(r"(?i)passw|secret|token|credential")


class _Section(BaseModel):
    """A nested object of the stack file, where its keys are in camel case."""

    model_config = ConfigDict(alias_generator=to_camel, extra="forbid", frozen=True, strict=True)


class Postgres(_Section):
    """The database server."""

    major: Annotated[Literal[16, 17, 18], Allowed("16, 17 or 18")] = Field(
        default=16, description="Major version; an existing volume needs the one that created it."
    )
    flavour: Annotated[Literal["alpine", "debian"], Allowed("alpine or debian")] = Field(
        default="alpine", description="Variant of the official image; an existing volume needs the one that created it."
    )
    image: PinnedImage = Field(
        default="", description="Image of this version and variant, by its digest; '' is the official one by its tag."
    )
    storage: Volume = Field(default="10Gi", description="Size of the volume.")
    existing_claim: ObjectName = Field(
        default="", description="An existing PersistentVolumeClaim to use instead of a new one."
    )
    cpu: Cpu = Field(default="250m", description="CPU request.")
    cpu_limit: Cpu = Field(default="2", description="CPU limit.")
    memory: DatabaseMemory = Field(default="1Gi", description="Memory request and limit.")
    settings: ServerSettings = Field(default={}, description="Server settings that replace the computed ones.")
    tls: Switch = Field(default=False, description="Accept only TLS; every client verifies the certificate.")
    tls_secret: ObjectName = Field(
        default="",
        description="An existing Secret with tls.crt, tls.key and ca.crt, instead of a generated certificate.",
    )


class PgBouncer(_Section):
    """The connection pooler between the bank and the database."""

    enabled: Switch = Field(default=False, description="Put PgBouncer between the bank and the database.")
    image: PinnedImage = Field(default="", description="An image with `pgbouncer` on its PATH; no official one exists.")
    replicas: Count = Field(default=2, description="Number of pods.")
    connections: Connections = Field(default=20, description="Maximum database connections of one pod.")


class Application(_Section):
    """The pods that serve the bank."""

    replicas: Count = Field(default=2, description="Number of pods; with maxReplicas, the minimum.")
    max_replicas: Maximum = Field(
        default=None, description="Maximum number of pods; enables a HorizontalPodAutoscaler."
    )
    target_cpu: Percent = Field(default=70, description="CPU use, in per cent of `cpu`, at which pods are added.")
    disruption_budget: Switch = Field(
        default=False, description="Create a PodDisruptionBudget, so that draining nodes evicts one pod at a time."
    )
    workers: Count = Field(default=2, description="gunicorn worker processes in a pod.")
    threads: Threads = Field(default=128, description="Requests that a worker handles at once; more of them wait.")
    connections: Count = Field(default=8, description="Maximum database connections of a worker.")
    rate_limits: RateLimits = Field(default="on", description="Rate limits of each caller; off is for rehearsals only.")
    cors_origins: Origins = Field(default="", description="Origins whose web pages may call the API; '' is none.")
    cpu: Cpu = Field(default="250m", description="CPU request of the serving container.")
    cpu_limit: Cpu = Field(default="2", description="CPU limit of the serving container.")
    memory: ApplicationMemory = Field(default="512Mi", description="Memory request and limit of the serving container.")


class Ingress(_Section):
    """Access from outside the cluster, through an existing ingress controller."""

    enabled: Switch = Field(default=False, description="Create an Ingress; without one, use the port-forward.")
    class_name: ObjectName = Field(default="", description="IngressClass; '' is the cluster's default.")
    host: Host = Field(default="", description="Host name that players use.")
    tls_secret: ObjectName = Field(default="", description="Existing Secret with the host's certificate.")
    cluster_issuer: ObjectName = Field(default="", description="cert-manager ClusterIssuer for the host's certificate.")
    namespace: Label = Field(
        default="traefik", description="Namespace of the controller; NetworkPolicies admit no other."
    )
    trusted_proxies: Proxies = Field(
        default=1,
        description="Number of proxies whose X-Forwarded-For is trusted: the controller and each one before it.",
    )
    wait: Switch = Field(default=False, description="Wait until the controller has assigned an address to the Ingress.")

    @property
    def tls(self) -> bool:
        """Whether the host has a certificate."""
        return bool(self.tls_secret or self.cluster_issuer)


class Network(_Section):
    """Which traffic is allowed."""

    policies: Switch = Field(default=False, description="Deny all traffic except what the bank needs.")
    monitoring_namespace: Label = Field(default="monitoring", description="Namespace of Prometheus.")


class Migration(_Section):
    """The Job that migrates the database schema."""

    ttl_seconds: Seconds = Field(
        default=None,
        description="Seconds until a finished Job is deleted; `pulumi refresh` then makes it run again.",
    )


class Rotation(_Section):
    """The rotation of one secret."""

    number: RotationNumber = Field(default=1, description="A changed number replaces the secret.")
    since: Since = Field(default="", description="Date of the last rotation, for information only.")


class Rotations(_Section):
    """The rotation of every secret."""

    owner: Rotation = Field(default=Rotation(), description="Password of the role that migrates the database.")
    application: Rotation = Field(default=Rotation(), description="Password of the role that serves requests.")
    backup: Rotation = Field(default=Rotation(), description="Password of the role that reads all data.")
    metrics: Rotation = Field(default=Rotation(), description="Password of the role that reads statistics.")
    tls: Rotation = Field(default=Rotation(), description="Certificates of PostgreSQL and PgBouncer.")
    secret_key: Rotation = Field(default=Rotation(), description="SECRET_KEY; a new one ends every session.")
    admin: Rotation = Field(default=Rotation(), description="Password of the first administrator.")


class Casino(_Section):
    """The casino."""

    bankroll: Bankroll = Field(default=10_000_000, description="Initial balance of the house, in whole ¤.")
    time_zone: TimeZone = Field(default="UTC", description="Time zone of the casino's day, which starts at 06:00.")


class Settings(_Section):
    """One stack's configuration. Pulumi.yaml declares the top-level keys with the same defaults."""

    namespace: Label = Field(default="neotropolis", description="Namespace of all objects.")
    create_namespace: Switch = Field(default=True, description="Create the namespace; false uses an existing one.")
    protect_data: Switch = Field(default=True, description="Protect the namespace and the volume from deletion.")
    production: Switch = Field(
        default=False, description="Refuse settings that are unsafe for an event; docs/production.md lists them."
    )
    priority_classes: Switch = Field(
        default=False, description="Create PriorityClasses: on a full node the database comes first, then the bank."
    )
    kube_context: Context = Field(default="", description="Context of the kubeconfig; '' is the current one.")
    image_repository: Repository = Field(
        default="neobank", description="Repository of the service's image, unless NEOBANK_IMAGE names the image."
    )
    storage_class: ObjectName = Field(
        default="", description="StorageClass of the volume; '' is the cluster's default."
    )
    admin_name: PlayerName = Field(default="admin", description="Name of the first administrator.")
    opening_balance: OpeningBalance = Field(default=1000, description="Balance of a new player, in whole ¤.")
    postgres: Postgres = Field(default=Postgres(), description="The database server.")
    pgbouncer: PgBouncer = Field(default=PgBouncer(), description="The connection pooler.")
    application: Application = Field(default=Application(), description="The pods that serve the bank.")
    ingress: Ingress = Field(default=Ingress(), description="Access from outside the cluster.")
    network: Network = Field(default=Network(), description="Which traffic is allowed.")
    migration: Migration = Field(default=Migration(), description="The Job that migrates the database schema.")
    rotation: Rotations = Field(default=Rotations(), description="A raised number replaces that secret.")
    casino: Casino = Field(default=Casino(), description="The casino.")

    @cached_property
    def image(self) -> str:
        """The service's image. Raise pulumi.RunError if it cannot be determined."""
        try:
            reference = image_reference(os.environ, self.image_repository, CONTEXT, CONTAINERFILE)
        except ImageError as error:
            raise pulumi.RunError(str(error)) from None
        if self.production and "@sha256:" not in reference:
            raise pulumi.RunError(
                f"The image {reference} has no digest: if production is true, set NEOBANK_IMAGE to one with a digest."
            )
        return reference

    def contradictions(self) -> Iterator[str]:
        """Return a sentence for each combination of settings that is invalid."""
        bank, ingress = self.application, self.ingress
        if bank.max_replicas is not None and bank.max_replicas < bank.replicas:
            yield f"application.maxReplicas is {bank.max_replicas}: that is less than application.replicas."
        if bank.disruption_budget and bank.replicas == 1:
            yield "application.disruptionBudget is true: with one pod it blocks every node drain; set two replicas."
        for name, section in (("postgres", self.postgres), ("application", bank)):
            if millicores(section.cpu) > millicores(section.cpu_limit):
                yield f"{name}.cpu is {section.cpu}: that is more than {name}.cpuLimit, which is {section.cpu_limit}."
        if ingress.enabled and not ingress.host:
            yield 'ingress.host is "": an Ingress needs the host name that players use.'
        elif ingress.tls and not ingress.host:
            yield 'ingress.host is "": a certificate (ingress.tlsSecret, ingress.clusterIssuer) needs a host name.'
        if ingress.tls_secret and ingress.cluster_issuer:
            yield "ingress.tlsSecret and ingress.clusterIssuer are both set: keep one of them."
        bank = self.application
        if mebibytes(bank.memory) < (needed := (bank.workers + 1) * MEBIBYTES_A_WORKER):
            yield (
                f"application.memory is {bank.memory}: {bank.workers} workers and gunicorn's master need at least "
                f"{needed}Mi."
            )
        yield from self._contradictions_of_the_database()
        if self.production:
            yield from (f"{sentence[:-1]}, where production is true." for sentence in self.missing_for_production())

    def _contradictions_of_the_database(self) -> Iterator[str]:
        postgres, needed = self.postgres, self.connections()
        for name in filter(tuning.is_reserved, postgres.settings):
            yield f"postgres.settings.{name} is set by the program, as are access, files and durability: remove it."
        if not tuning.fits(cache := postgres.settings.get("shared_buffers", "0"), postgres.memory):
            yield (
                f"postgres.settings.shared_buffers is {cache}: with /dev/shm ({tuning.SHARED_MEMORY}) that is more "
                f"than postgres.memory, which is {postgres.memory}."
            )
        if needed > (most := tuning.max_connections(postgres.memory)):
            clients, remedy = "the bank's connections", "set pgbouncer.enabled"
            if self.pgbouncer.enabled:
                clients, remedy = "PgBouncer", "lower pgbouncer.connections"
            if most < tuning.MOST_CONNECTIONS:
                remedy = f"raise it, or {remedy}"
            yield (
                f"postgres.memory is {postgres.memory}: that allows {most} connections, but {clients}, with the extra "
                f"pod of a rollout, and other clients need {needed}: {remedy}."
            )
        if self.pgbouncer.enabled and not self.pgbouncer.image:
            yield 'pgbouncer.image is "": set one with `pgbouncer` on its PATH, by its digest; no official one exists.'
        if postgres.tls_secret and not postgres.tls:
            yield f'postgres.tlsSecret is "{postgres.tls_secret}": it is used only if postgres.tls is true.'

    def bank_connections(self) -> int:
        """Return the maximum number of the bank's database connections, with the extra pod of a rollout."""
        bank = self.application
        return ((bank.max_replicas or bank.replicas) + 1) * bank.workers * bank.connections

    def connections(self) -> int:
        """Return the maximum number of connections to the database, with the extra pod of a rollout."""
        pooler = self.pgbouncer
        serving = (pooler.replicas + 1) * pooler.connections if pooler.enabled else self.bank_connections()
        return serving + tuning.OTHER_CONNECTIONS

    def missing_for_production(self) -> Iterator[str]:
        """Return a sentence for each setting that is unsafe for an event."""
        bank, ingress = self.application, self.ingress
        requirements = [
            (self.kube_context != "", "kubeContext", "name the context, so that no other cluster is changed"),
            (self.protect_data, "protectData", "it must be true"),
            (bank.replicas > 1, "application.replicas", "it must be at least 2, so that one pod can be replaced"),
            (bank.disruption_budget, "application.disruptionBudget", "it must be true"),
            (bank.rate_limits != "off", "application.rateLimits", "off is for rehearsals only"),
            (
                self.postgres.image != "",
                "postgres.image",
                "name the image by its digest, so that every new pod runs the same server",
            ),
            (self.postgres.tls, "postgres.tls", "it must be true: passwords and balances travel between nodes"),
            (
                not self.pgbouncer.enabled or self.pgbouncer.replicas > 1,
                "pgbouncer.replicas",
                "it must be at least 2, so that one pod can be replaced",
            ),
            (self.network.policies, "network.policies", "it must be true"),
            (
                not ingress.enabled or ingress.tls,
                "ingress.tlsSecret",
                "set it or ingress.clusterIssuer: passwords must not travel unencrypted",
            ),
        ]
        return (f"{key}: {advice}." for met, key, advice in requirements if not met)

    @classmethod
    def load(cls) -> Self:
        """Read this stack's configuration. Raise pulumi.RunError, which the engine prints without a traceback."""
        prefix = f"{pulumi.get_project()}:"
        texts = pulumi.runtime.get_config_env()
        values = {key.removeprefix(prefix): text for key, text in texts.items() if key.startswith(prefix)}
        hidden = {key for key in values if pulumi.runtime.is_config_secret(prefix + key)}
        settings = cls.read(values, hidden=hidden)
        _ = settings.image  # must be known before the first resource
        return settings

    @classmethod
    def read(cls, texts: Mapping[str, str], *, hidden: AbstractSet[str] = frozenset()) -> Self:
        """Validate the texts. Raise pulumi.RunError, whose message does not contain the values of hidden keys."""
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
    """A key of the stack file."""

    name: str
    info: FieldInfo

    @property
    def section(self) -> type[BaseModel] | None:
        """The section that a nested object contains, or None for a value."""
        annotation = self.info.annotation
        return annotation if isinstance(annotation, type) and issubclass(annotation, BaseModel) else None

    @property
    def allowed(self) -> str:
        """A description of the values that the key takes."""
        if self.section is not None:
            return f"an object with the keys {', '.join(keys(self.section))}"
        return next(item.text for item in self.info.metadata if isinstance(item, Allowed))


def keys(section: type[BaseModel]) -> dict[str, Key]:
    """Return the keys of a section by name, in order."""
    return {info.alias or name: Key(info.alias or name, info) for name, info in section.model_fields.items()}


def _decode(name: str, text: str) -> object:
    """Decode one value: the engine passes a string unchanged and any other value as JSON."""
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
        return f"{'.'.join(path)} is not a key: secrets are generated; raise a number under rotation to replace one."
    if path[-1] not in known:
        return f"{'.'.join(path)} is not a key: the keys are {', '.join(known)}."
    value = "a secret" if path[0] in hidden else _described(details)
    return f"{'.'.join(path)} is {value}: it takes {known[path[-1]].allowed}."


def _described(details: ErrorDetails) -> str:
    """Quote a value, and the part of it that its validator names as wrong."""
    quoted = json.dumps(details["input"], ensure_ascii=False, default=str)
    wrong = str(details.get("ctx", {}).get("error", "")) if details["type"] == "value_error" else ""
    return f"{quoted}, in which {json.dumps(wrong, ensure_ascii=False)} is invalid" if wrong else quoted
