"""The program: it reads the settings, connects the components and exports the outputs."""

import pulumi

import cluster
import commands
import kube
from application import Application, ApplicationArgs
from certificate import Certificate, CertificateArgs
from credentials import Credentials
from database import SERVICE as DATABASE_SERVICE
from database import SingleDatabase, SingleDatabaseArgs
from expiry import Expiry, ExpiryArgs
from migration import Migration, MigrationArgs
from monitoring import Monitoring, MonitoringArgs
from network import Network, NetworkArgs
from pooler import SERVICE as POOLER_SERVICE
from pooler import Pooler, PoolerArgs
from retirement import Retirement, RetirementArgs
from settings import Settings
from summary import summary

settings = Settings.load()

provider = cluster.connect(settings)
in_cluster = pulumi.ResourceOptions(providers=[provider])
namespace = cluster.make_namespace(settings, provider)
priorities = cluster.make_priorities(settings, namespace, provider)

credentials = Credentials("credentials", settings.rotation)
certificate = (
    Certificate(
        "certificate",
        CertificateArgs(
            namespace=namespace,
            server="postgres",
            hosts=kube.service_hosts(DATABASE_SERVICE, settings.namespace),
            number=settings.rotation.tls.number,
            existing=settings.postgres.tls_secret,
        ),
        in_cluster,
    )
    if settings.postgres.tls
    else None
)

database = SingleDatabase(
    "database",
    SingleDatabaseArgs(
        namespace=namespace,
        postgres=settings.postgres,
        storage_class=settings.storage_class,
        protect=settings.protect_data,
        credentials=credentials,
        certificate=certificate,
        priority_class=priorities.database,
    ),
    in_cluster,
)
migration = Migration(
    "migration",
    MigrationArgs(
        namespace=namespace,
        database=database,
        image=settings.image,
        admin_name=settings.admin_name,
        admin_password=credentials.admin_password,
        bankroll=settings.casino.bankroll,
        opening_balance=settings.opening_balance,
        settings=settings.migration,
    ),
    in_cluster,
)
serving = (
    Pooler(
        "pooler",
        PoolerArgs(
            namespace=namespace,
            database=database,
            credentials=credentials,
            settings=settings.pgbouncer,
            clients=settings.bank_connections(),
            certificate=certificate
            and certificate.for_server("pgbouncer", kube.service_hosts(POOLER_SERVICE, settings.namespace)),
            priority_class=priorities.application,
        ),
        in_cluster,
    )
    if settings.pgbouncer.enabled
    else database
)
application = Application(
    "application",
    ApplicationArgs(
        namespace=namespace,
        database=serving,
        migration=migration,
        image=settings.image,
        secret_key=credentials.secret_key,
        settings=settings.application,
        ingress=settings.ingress,
        casino_time_zone=settings.casino.time_zone,
        priority_class=priorities.application,
    ),
    in_cluster,
)
Retirement(
    "retirement",
    RetirementArgs(
        namespace=namespace,
        migration=migration,
        application=application,
        database=database,
        image=settings.image,
        number=credentials.application_number,
    ),
    in_cluster,
)
Expiry(
    "expiry",
    ExpiryArgs(namespace=namespace, database=database, application=application, image=settings.image),
    in_cluster,
)
Monitoring(
    "monitoring",
    MonitoringArgs(namespace=namespace, database=database, migration=migration, image=settings.image),
    in_cluster,
)
Network(
    "network",
    NetworkArgs(
        namespace=namespace,
        ingress=settings.ingress,
        settings=settings.network,
        pooled=settings.pgbouncer.enabled,
    ),
    in_cluster,
)

login = database.logins["application"]
kubectl = commands.kubectl(settings.kube_context, settings.namespace)
local_server = commands.local_server(settings.namespace, tls=settings.postgres.tls)

pulumi.export("summary", summary(settings))
pulumi.export("namespace", namespace)
pulumi.export("url", application.url)
pulumi.export("databaseHost", database.host)
pulumi.export("databasePort", database.port)
pulumi.export("databaseName", database.name)
pulumi.export("databaseUser", login.user)
pulumi.export("databasePassword", login.password)
pulumi.export("databaseUrl", login.url)
pulumi.export("adminName", settings.admin_name)
pulumi.export("adminPassword", credentials.admin_password)
pulumi.export("image", settings.image)
pulumi.export("rotations", settings.rotation.model_dump(by_alias=True))
pulumi.export("portForwardCommand", commands.port_forward(kubectl))
pulumi.export("psqlCommand", commands.psql(kubectl, local_server, login.user))
pulumi.export("backupCommand", commands.backup(kubectl, local_server))
pulumi.export("verifyCommand", commands.verify(kubectl))
