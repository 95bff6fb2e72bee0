"""PgBouncer in front of the database: the bank's many connections share few, one transaction at a time."""

from dataclasses import dataclass

import pulumi
import pulumi_kubernetes as k8s

import certificate
import kube
import tuning
from certificate import Certificate
from contract import CONTRACT
from credentials import Credentials, current_login
from database import Database
from settings import PgBouncer

COMPONENT = "pooler"
CONFIG_MAP = "pgbouncer-config"
DEPLOYMENT = "pgbouncer-deployment"
SECRET = "pgbouncer-secret"  # noqa: S105  # the name of an object
SERVICE = "pgbouncer-service"

CONFIGURATION, USERS = "pgbouncer.ini", "userlist.txt"
_CONFIGURATION_PATH = "/etc/neobank/pgbouncer"
_USERS_PATH = "/etc/neobank/credentials"
_OWNER_AND_GROUP_READ = 0o440

_SETTINGS = """\
[databases]
{name} = host={host} port={port}
[pgbouncer]
listen_addr = *
listen_port = {port}
unix_socket_dir =
auth_type = scram-sha-256
auth_file = {users}
pool_mode = transaction
default_pool_size = {connections}
max_db_connections = {connections}
max_client_conn = {clients}
query_wait_timeout = 10
server_login_retry = 1
log_connections = 0
log_disconnections = 0
"""
"""A request waits for a connection no longer than for a statement, 10 s. Connects and disconnects are not logged."""

_TLS_SETTINGS = """\
server_tls_sslmode = verify-full
server_tls_ca_file = {folder}/{authority}
server_tls_protocols = tlsv1.3
client_tls_sslmode = require
client_tls_cert_file = {folder}/{certificate}
client_tls_key_file = {folder}/{key}
client_tls_protocols = tlsv1.3
"""


@dataclass(frozen=True, kw_only=True)
class PoolerArgs:
    """Inputs of PgBouncer; `clients` is the maximum number of the bank's connections."""

    namespace: pulumi.Input[str]
    database: Database
    credentials: Credentials
    settings: PgBouncer
    clients: int
    certificate: Certificate | None
    priority_class: pulumi.Input[str] | None


class Pooler(Database):
    """A Deployment with both logins of the application and no other, so that a rotation interrupts no pod.

    The application uses it as the database: the same authority signs its certificate.
    """

    def __init__(self, name: str, args: PoolerArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("neobank:infra:Pooler", name, None, opts)
        self._args, self._child = args, pulumi.ResourceOptions(parent=self)
        database, direct = args.database, args.database.logins["application"]
        self.port, self.name, self.data_id = CONTRACT.ports.database, database.name, database.data_id
        self.client_volumes, self.client_mounts = database.client_volumes, database.client_mounts
        self.verification = database.verification
        self._deployment()
        self.host = pulumi.Output.concat(kube.name_of(self._service().metadata), ".", args.namespace, ".svc")
        self.logins = {"application": self.login(direct.user, direct.password)}
        self.register_outputs({"host": self.host, "port": self.port, "name": self.name})

    def _deployment(self) -> None:
        args, tls = self._args, self._args.certificate
        configuration, users = self._configuration(), self._users()
        config_map = k8s.core.v1.ConfigMap(
            CONFIG_MAP,
            metadata=kube.metadata(args.namespace, COMPONENT, CONFIG_MAP),
            data={CONFIGURATION: configuration},
            opts=self._child,
        )
        secret = k8s.core.v1.Secret(
            SECRET,
            metadata=kube.metadata(args.namespace, COMPONENT, SECRET),
            string_data={USERS: users},
            opts=pulumi.ResourceOptions(parent=self, depends_on=[args.database]),
        )
        template = kube.pod(
            COMPONENT,
            kube.checksum(configuration, users, *(tls.version if tls else ())),
            uid=CONTRACT.image.uid,
            service_account=kube.service_account("pgbouncer", args.namespace, COMPONENT, self._child),
            containers=[_container(args)],
            volumes=[
                k8s.core.v1.VolumeArgs(
                    name="configuration",
                    config_map=k8s.core.v1.ConfigMapVolumeSourceArgs(name=kube.name_of(config_map.metadata)),
                ),
                k8s.core.v1.VolumeArgs(
                    name="users",
                    projected=k8s.core.v1.ProjectedVolumeSourceArgs(
                        default_mode=_OWNER_AND_GROUP_READ,
                        sources=[
                            k8s.core.v1.VolumeProjectionArgs(
                                secret=k8s.core.v1.SecretProjectionArgs(name=kube.name_of(secret.metadata))
                            )
                        ],
                    ),
                ),
                *([tls.server_volume()] if tls else ()),
            ],
            priority_class=args.priority_class,
            spread=True,
        )
        k8s.apps.v1.Deployment(
            DEPLOYMENT,
            metadata=kube.metadata(args.namespace, COMPONENT, DEPLOYMENT),
            spec=k8s.apps.v1.DeploymentSpecArgs(
                replicas=args.settings.replicas,
                strategy=kube.rolling_update(),
                selector=k8s.meta.v1.LabelSelectorArgs(match_labels=kube.selector(COMPONENT)),
                template=template,
            ),
            opts=pulumi.ResourceOptions(
                parent=self, depends_on=[args.database], custom_timeouts=kube.DEPLOYMENT_TIMEOUTS
            ),
        )
        if args.settings.replicas > 1:
            kube.disruption_budget("pgbouncer-disruption-budget", args.namespace, COMPONENT, self._child)

    def _configuration(self) -> pulumi.Output[str]:
        """Return the text of pgbouncer.ini."""
        args, database = self._args, self._args.database
        tls = _TLS_SETTINGS.format(
            folder=certificate.FOLDER,
            authority=certificate.AUTHORITY,
            certificate=certificate.CERTIFICATE,
            key=certificate.KEY,
        )
        text = _SETTINGS + (tls if args.certificate else "")
        return database.host.apply(
            lambda host: text.format(
                name=database.name,
                host=host,
                port=database.port,
                users=f"{_USERS_PATH}/{USERS}",
                connections=args.settings.connections,
                clients=args.clients + tuning.OTHER_CONNECTIONS,
            )
        )

    def _users(self) -> pulumi.Output[str]:
        """Return the text of userlist.txt: both logins of the application."""
        credentials = self._args.credentials
        number = credentials.application_number
        current, previous = credentials.passwords["application"], credentials.previous_application
        lines = (f'"{current_login(number)}" "', current, f'"\n"{current_login(number - 1)}" "', previous, '"\n')
        return pulumi.Output.concat(*lines)

    def _service(self) -> k8s.core.v1.Service:
        return k8s.core.v1.Service(
            SERVICE,
            metadata=kube.metadata(self._args.namespace, COMPONENT, SERVICE, kube.SKIP_AWAIT),
            spec=k8s.core.v1.ServiceSpecArgs(
                type="ClusterIP",
                selector=kube.selector(COMPONENT),
                ports=[k8s.core.v1.ServicePortArgs(name="postgres", port=self.port, target_port="postgres")],
            ),
            opts=self._child,
        )


def _container(args: PoolerArgs) -> k8s.core.v1.ContainerArgs:
    """Return the container. Its probes check only the port: PgBouncer and its clients wait for a missing database."""
    return k8s.core.v1.ContainerArgs(
        name="pgbouncer",
        image=args.settings.image,
        image_pull_policy="IfNotPresent",
        command=["pgbouncer", f"{_CONFIGURATION_PATH}/{CONFIGURATION}"],
        ports=[k8s.core.v1.ContainerPortArgs(name="postgres", container_port=CONTRACT.ports.database)],
        volume_mounts=[
            kube.mount("configuration", _CONFIGURATION_PATH, read_only=True),
            kube.mount("users", _USERS_PATH, read_only=True),
            *([certificate.server_mount()] if args.certificate else ()),
        ],
        readiness_probe=kube.tcp_probe("postgres", period=5, failures=2),
        liveness_probe=kube.tcp_probe("postgres", period=10, failures=6),
        lifecycle=kube.drain(),
        resources=kube.resources("100m", "1", "128Mi"),
        security_context=kube.container_security(),
    )
