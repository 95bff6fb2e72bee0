"""The Job that waits for the database, migrates it, and creates the system accounts and the first administrator."""

from dataclasses import dataclass

import pulumi
import pulumi_kubernetes as k8s

import kube
from contract import CONTRACT
from database import Database
from settings import Migration as MigrationSettings

COMPONENT = "migration"
SECRET = "neobank-owner-secret"  # noqa: S105  # the name of an object


@dataclass(frozen=True, kw_only=True)
class MigrationArgs:
    """Inputs of the Job. A change of any of them creates a new Job."""

    namespace: pulumi.Input[str]
    database: Database
    image: str
    admin_name: str
    admin_password: pulumi.Output[str]
    bankroll: int
    opening_balance: int
    settings: MigrationSettings


class Migration(pulumi.ComponentResource):
    """The owner's Secret and the Job.

    The Job is auto-named because its template is immutable: a new Job runs first, then the finished one is deleted.
    """

    secret: k8s.core.v1.Secret

    def __init__(self, name: str, args: MigrationArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("neobank:infra:Migration", name, None, opts)
        names = CONTRACT.environment
        entries = {
            names.database_owner_url: args.database.logins["owner"].url,
            names.admin_password: args.admin_password,
        }
        self.secret = k8s.core.v1.Secret(
            SECRET,
            metadata=kube.metadata(args.namespace, COMPONENT, SECRET),
            string_data=entries,
            opts=pulumi.ResourceOptions(parent=self, depends_on=[args.database]),
        )
        account = kube.service_account(
            "neobank-migration", args.namespace, COMPONENT, pulumi.ResourceOptions(parent=self)
        )
        k8s.batch.v1.Job(
            "neobank-db-init",
            metadata=kube.metadata(args.namespace, COMPONENT, annotations={"pulumi.com/replaceUnready": "true"}),
            spec=k8s.batch.v1.JobSpecArgs(
                backoff_limit=1,
                active_deadline_seconds=kube.JOB_DEADLINE_SECONDS,
                ttl_seconds_after_finished=args.settings.ttl_seconds,
                template=kube.pod(
                    COMPONENT,
                    kube.checksum(args.database.data_id, *entries.values()),
                    uid=CONTRACT.image.uid,
                    service_account=account,
                    containers=[_container(args, self.secret)],
                    volumes=[kube.scratch("tmp"), *args.database.client_volumes],
                    restart_policy="Never",
                ),
            ),
            opts=pulumi.ResourceOptions(
                parent=self,
                depends_on=[args.database],
                custom_timeouts=kube.JOB_TIMEOUT,
            ),
        )
        self.register_outputs({})


def _container(args: MigrationArgs, secret: k8s.core.v1.Secret) -> k8s.core.v1.ContainerArgs:
    names = CONTRACT.environment
    return k8s.core.v1.ContainerArgs(
        name="upgrade",
        image=args.image,
        image_pull_policy="IfNotPresent",
        command=CONTRACT.commands.upgrade,
        env=[
            *kube.from_secret(secret, names.database_owner_url, names.admin_password),
            k8s.core.v1.EnvVarArgs(name=names.admin_name, value=args.admin_name),
            k8s.core.v1.EnvVarArgs(name=names.house_bankroll, value=str(args.bankroll)),
            k8s.core.v1.EnvVarArgs(name=names.opening_balance, value=str(args.opening_balance)),
        ],
        volume_mounts=[kube.mount("tmp", "/tmp"), *args.database.client_mounts],  # noqa: S108  # a volume of the pod
        termination_message_policy="FallbackToLogsOnError",  # so that the engine reports the reason
        resources=kube.resources("100m", "2", "256Mi"),
        security_context=kube.container_security(),
    )
