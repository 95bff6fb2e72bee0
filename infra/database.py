"""The database: one PostgreSQL, on a volume that can outlive pods, passwords and the stack."""

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from urllib.parse import urlencode

import pulumi
import pulumi_kubernetes as k8s

import certificate
import kube
import tuning
from certificate import Certificate
from contract import CHECKOUT, CONTRACT
from credentials import ROLES, Credentials, Role, current_login
from settings import Postgres

COMPONENT = "database"
CLAIM = "postgres-pvc"
CONFIG_MAP = "postgres-config"
CONTAINER = "postgres"
DEPLOYMENT = "postgres-deployment"
SERVICE = "postgres-service"
SERVER_SECRET = "postgres-secret"  # noqa: S105  # the name of an object

FILES = ("start.sh", "roles.sql", "pg_hba.conf", "postgresql.conf")
_FILES_PATH = "/etc/neobank/database"
_CREDENTIALS_PATH = "/etc/neobank/credentials"
_VOLUME_PATH = "/pgdata"
_OWNER_AND_GROUP_READ = 0o440

_UIDS = {"alpine": 70, "debian": 999}
_TAG_SUFFIXES = {"alpine": "-alpine", "debian": ""}


@dataclass(frozen=True)
class Login:
    """The user, password and URL of one role."""

    user: str
    password: pulumi.Output[str]
    url: pulumi.Output[str]


class Database(pulumi.ComponentResource):
    """The interface of a database to the rest of the program, independent of how it is deployed.

    A resource that depends on it is created only after the server accepts the password of every login.
    """

    host: pulumi.Output[str]
    port: int
    name: str
    logins: Mapping[Role, Login]
    data_id: pulumi.Output[str]
    """The UID of the claim: if it changes, the data may be different, perhaps empty."""

    client_volumes: Sequence[k8s.core.v1.VolumeArgs]
    client_mounts: Sequence[k8s.core.v1.VolumeMountArgs]
    """Volumes and mounts of a client's pod: with TLS, the CA certificate with which it verifies the server."""

    verification: Mapping[str, str]
    """The libpq parameters with which a client verifies the server."""

    def login(self, user: str, password: pulumi.Output[str]) -> Login:
        """Return the login of a user, with its URL."""
        query = urlencode(self.verification, safe="/")
        address = pulumi.Output.concat(self.host, f":{self.port}/{self.name}{query and '?'}{query}")
        return Login(user, password, pulumi.Output.concat(f"postgresql://{user}:", password, "@", address))


@dataclass(frozen=True, kw_only=True)
class SingleDatabaseArgs:
    """Inputs of a single PostgreSQL."""

    namespace: pulumi.Input[str]
    postgres: Postgres
    storage_class: str
    protect: bool
    credentials: Credentials
    certificate: Certificate | None
    priority_class: pulumi.Input[str] | None


class SingleDatabase(Database):
    """One pod on one volume, its Service, and the Secrets of the roles that operators and tools use.

    The Secrets of the other roles belong to the components of their pods.
    """

    def __init__(self, name: str, args: SingleDatabaseArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("neobank:infra:SingleDatabase", name, None, opts)
        self._args = args
        self.port = CONTRACT.ports.database
        self.name = CONTRACT.database.name
        self.client_volumes = [args.certificate.client_volume()] if args.certificate else []
        self.client_mounts = [certificate.client_mount()] if args.certificate else []
        tls = {"sslmode": "verify-full", "sslrootcert": certificate.AUTHORITY_FILE}
        self.verification = tls if args.certificate else {}

        claim = self._claim()
        self.data_id = claim.metadata.apply(lambda metadata: metadata.uid or "")
        entries = _server_entries(args.credentials)
        secret = k8s.core.v1.Secret(
            SERVER_SECRET,
            metadata=kube.metadata(args.namespace, COMPONENT, SERVER_SECRET),
            string_data=entries,
            opts=pulumi.ResourceOptions(parent=self),
        )
        server = self._deployment(claim, secret, list(entries.values()))
        service = self._service()
        self.host = pulumi.Output.concat(kube.name_of(service.metadata), ".", args.namespace, ".svc")
        self.logins = {
            role: self.login(_users(args.credentials)[role], args.credentials.passwords[role]) for role in ROLES
        }
        for role in ("backup", "metrics"):
            self._client_secret(f"neobank-{role}-secret", self.logins[role], after=server)
        self.register_outputs({"host": self.host, "port": self.port, "name": self.name})

    def _claim(self) -> k8s.core.v1.PersistentVolumeClaim:
        """Create the claim, or read the existing one.

        Protected data are also retained: if `existingClaim` is set later, `get` replaces the managed claim, and the
        engine then deletes that claim although it is protected.
        """
        postgres = self._args.postgres
        if postgres.existing_claim:
            identity = pulumi.Output.concat(self._args.namespace, "/", postgres.existing_claim)
            return k8s.core.v1.PersistentVolumeClaim.get(CLAIM, identity, opts=pulumi.ResourceOptions(parent=self))
        return k8s.core.v1.PersistentVolumeClaim(
            CLAIM,
            metadata=kube.metadata(self._args.namespace, COMPONENT, CLAIM),
            spec=k8s.core.v1.PersistentVolumeClaimSpecArgs(
                access_modes=["ReadWriteOnce"],
                storage_class_name=self._args.storage_class or None,
                resources=k8s.core.v1.VolumeResourceRequirementsArgs(requests={"storage": postgres.storage}),
            ),
            opts=pulumi.ResourceOptions(
                parent=self, protect=self._args.protect, retain_on_delete=self._args.protect or None
            ),
        )

    def _deployment(
        self, claim: k8s.core.v1.PersistentVolumeClaim, secret: k8s.core.v1.Secret, entries: list[pulumi.Input[str]]
    ) -> k8s.apps.v1.Deployment:
        """Create the Deployment. Its strategy is Recreate: a second pod would only wait for the lock in start.sh."""
        postgres = self._args.postgres
        files = {file: (CHECKOUT / "database" / file).read_text(encoding="utf-8") for file in FILES}
        files["tuning.conf"] = tuning.as_file(tuning.by_size(postgres.memory, postgres.storage) | postgres.settings)
        config_map = k8s.core.v1.ConfigMap(
            CONFIG_MAP,
            metadata=kube.metadata(self._args.namespace, COMPONENT, CONFIG_MAP),
            data=files,
            opts=pulumi.ResourceOptions(parent=self),
        )
        account = kube.service_account("postgres", self._args.namespace, COMPONENT, pulumi.ResourceOptions(parent=self))
        tls = self._args.certificate
        template = kube.pod(
            COMPONENT,
            kube.checksum(*files.values(), *entries, *(tls.version if tls else ())),
            uid=_UIDS[postgres.flavour],
            service_account=account,
            init_containers=[_prepare(postgres)],
            containers=[_serve(postgres)],
            volumes=[
                *_volumes(kube.name_of(claim.metadata), kube.name_of(config_map.metadata)),
                *([tls.server_volume()] if tls else ()),
                _credentials(kube.name_of(secret.metadata)),
            ],
            grace_seconds=120,
            priority_class=self._args.priority_class,
        )
        return k8s.apps.v1.Deployment(
            DEPLOYMENT,
            metadata=kube.metadata(self._args.namespace, COMPONENT, DEPLOYMENT),
            spec=k8s.apps.v1.DeploymentSpecArgs(
                replicas=1,
                strategy=k8s.apps.v1.DeploymentStrategyArgs(type="Recreate"),
                selector=k8s.meta.v1.LabelSelectorArgs(match_labels=kube.selector(COMPONENT)),
                template=template,
            ),
            opts=pulumi.ResourceOptions(parent=self, custom_timeouts=kube.DEPLOYMENT_TIMEOUTS),
        )

    def _service(self) -> k8s.core.v1.Service:
        return k8s.core.v1.Service(
            SERVICE,
            metadata=kube.metadata(self._args.namespace, COMPONENT, SERVICE, kube.SKIP_AWAIT),
            spec=k8s.core.v1.ServiceSpecArgs(
                type="ClusterIP",
                selector=kube.selector(COMPONENT),
                ports=[k8s.core.v1.ServicePortArgs(name="postgres", port=self.port, target_port="postgres")],
            ),
            opts=pulumi.ResourceOptions(parent=self),
        )

    def _client_secret(self, name: str, login: Login, *, after: pulumi.Resource) -> None:
        """Create a Secret of libpq's environment variables, which every PostgreSQL tool reads."""
        k8s.core.v1.Secret(
            name,
            metadata=kube.metadata(self._args.namespace, COMPONENT, name),
            string_data={
                "PGHOST": self.host,
                "PGPORT": str(self.port),
                "PGDATABASE": self.name,
                "PGUSER": login.user,
                "PGPASSWORD": login.password,
                **{f"PG{name.upper()}": value for name, value in self.verification.items()},
            },
            opts=pulumi.ResourceOptions(parent=self, depends_on=[after]),
        )


def _users(credentials: Credentials) -> dict[Role, str]:
    names = CONTRACT.database
    return {
        "owner": names.owner,
        "application": current_login(credentials.application_number),
        "backup": names.backup,
        "metrics": names.metrics,
    }


def _server_entries(credentials: Credentials) -> dict[str, pulumi.Input[str]]:
    """Return the files that roles.sql reads, by name."""
    return {
        **{role: credentials.passwords[role] for role in ROLES},
        "application_previous": credentials.previous_application,
        "application_number": str(credentials.application_number),
    }


def _prepare(postgres: Postgres) -> k8s.core.v1.ContainerArgs:
    """Return the container that prepares the volume and the roles; in this pod only it mounts the passwords."""
    return k8s.core.v1.ContainerArgs(
        name="prepare",
        image=_image(postgres),
        image_pull_policy="IfNotPresent",
        command=["bash", f"{_FILES_PATH}/start.sh", "prepare"],
        env=[
            *_environment(postgres),
            k8s.core.v1.EnvVarArgs(name="NEOBANK_CREDENTIALS", value=_CREDENTIALS_PATH),
        ],
        volume_mounts=[*_mounts(postgres), kube.mount("credentials", _CREDENTIALS_PATH, read_only=True)],
        resources=kube.resources(postgres.cpu, postgres.cpu_limit, postgres.memory),
        security_context=kube.container_security(),
    )


def _serve(postgres: Postgres) -> k8s.core.v1.ContainerArgs:
    """Return the container of the server. Its startup probe allows ten minutes for the recovery after a crash.

    The probes use a role and a database that pg_hba.conf admits; otherwise each probe would log an error. A server that
    rejects connections is alive: it recovers after the crash of one of its processes, and a restart would begin anew.
    """
    names = CONTRACT.database
    is_ready = ["pg_isready", "--host=127.0.0.1", f"--username={names.metrics}", f"--dbname={names.name}"]
    return k8s.core.v1.ContainerArgs(
        name=CONTAINER,
        image=_image(postgres),
        image_pull_policy="IfNotPresent",
        command=["bash", f"{_FILES_PATH}/start.sh", "serve"],
        env=_environment(postgres),
        ports=[k8s.core.v1.ContainerPortArgs(name="postgres", container_port=CONTRACT.ports.database)],
        volume_mounts=_mounts(postgres),
        startup_probe=kube.command_probe(is_ready, period=1, failures=600),
        readiness_probe=kube.command_probe(is_ready, period=5, failures=2),
        liveness_probe=kube.command_probe(
            ["sh", "-c", f"{shlex.join(is_ready)}; test $? -lt 2"], period=10, failures=6
        ),
        resources=kube.resources(postgres.cpu, postgres.cpu_limit, postgres.memory),
        security_context=kube.container_security(),
    )


def _image(postgres: Postgres) -> str:
    return postgres.image or f"docker.io/library/postgres:{postgres.major}{_TAG_SUFFIXES[postgres.flavour]}"


def _environment(postgres: Postgres) -> list[k8s.core.v1.EnvVarArgs]:
    """Return the variables that start.sh reads: the data directory and, with TLS, the folder of the certificate."""
    variables = {"PGDATA": f"{_VOLUME_PATH}/{postgres.major}"}
    if postgres.tls:
        variables["NEOBANK_TLS"] = certificate.FOLDER
    return [k8s.core.v1.EnvVarArgs(name=name, value=value) for name, value in variables.items()]


def _volumes(claim: pulumi.Output[str], config_map: pulumi.Output[str]) -> list[k8s.core.v1.VolumeArgs]:
    return [
        k8s.core.v1.VolumeArgs(
            name="data", persistent_volume_claim=k8s.core.v1.PersistentVolumeClaimVolumeSourceArgs(claim_name=claim)
        ),
        k8s.core.v1.VolumeArgs(name="files", config_map=k8s.core.v1.ConfigMapVolumeSourceArgs(name=config_map)),
        kube.scratch("tmp"),
        kube.scratch("run"),
        kube.scratch("shared-memory", memory=tuning.SHARED_MEMORY),
    ]


def _credentials(secret: pulumi.Output[str]) -> k8s.core.v1.VolumeArgs:
    """Return the volume with the files that roles.sql reads; root owns them, so the pod's group may read them."""
    return k8s.core.v1.VolumeArgs(
        name="credentials",
        projected=k8s.core.v1.ProjectedVolumeSourceArgs(
            default_mode=_OWNER_AND_GROUP_READ,
            sources=[k8s.core.v1.VolumeProjectionArgs(secret=k8s.core.v1.SecretProjectionArgs(name=secret))],
        ),
    )


def _mounts(postgres: Postgres) -> list[k8s.core.v1.VolumeMountArgs]:
    return [
        *([certificate.server_mount()] if postgres.tls else ()),
        kube.mount("data", _VOLUME_PATH),
        kube.mount("files", _FILES_PATH, read_only=True),
        kube.mount("tmp", "/tmp"),  # noqa: S108  # a volume of the pod
        kube.mount("run", "/var/run/postgresql"),
        kube.mount("shared-memory", "/dev/shm"),  # noqa: S108
    ]
