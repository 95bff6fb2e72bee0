"""The Job that closes the application's previous login when no pod uses it any more."""

from dataclasses import dataclass

import pulumi
import pulumi_kubernetes as k8s

import kube
from application import Application
from contract import CONTRACT
from database import Database
from migration import Migration

COMPONENT = "retirement"


@dataclass(frozen=True, kw_only=True)
class RetirementArgs:
    """Inputs of the Job; `number` is the rotation of the application's password."""

    namespace: pulumi.Input[str]
    database: Database
    migration: Migration
    application: Application
    image: str
    number: int


class Retirement(pulumi.ComponentResource):
    """A Job that runs after the rollout. The first rotation number has no previous login, so it has no Job."""

    def __init__(self, name: str, args: RetirementArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("neobank:infra:Retirement", name, None, opts)
        if args.number > 1:
            self._job(args)
        self.register_outputs({})

    def _job(self, args: RetirementArgs) -> None:
        account = kube.service_account(
            "neobank-retirement", args.namespace, COMPONENT, pulumi.ResourceOptions(parent=self)
        )
        k8s.batch.v1.Job(
            "neobank-db-retire",
            metadata=kube.metadata(args.namespace, COMPONENT, annotations={"pulumi.com/replaceUnready": "true"}),
            spec=k8s.batch.v1.JobSpecArgs(
                backoff_limit=1,
                active_deadline_seconds=kube.JOB_DEADLINE_SECONDS,
                template=kube.pod(
                    COMPONENT,
                    kube.checksum(args.database.data_id),
                    uid=CONTRACT.image.uid,
                    service_account=account,
                    containers=[_container(args)],
                    volumes=[kube.scratch("tmp"), *args.database.client_volumes],
                    restart_policy="Never",
                ),
            ),
            opts=pulumi.ResourceOptions(parent=self, depends_on=[args.application], custom_timeouts=kube.JOB_TIMEOUT),
        )


def _container(args: RetirementArgs) -> k8s.core.v1.ContainerArgs:
    return k8s.core.v1.ContainerArgs(
        name="close",
        image=args.image,
        image_pull_policy="IfNotPresent",
        command=[*CONTRACT.commands.close, str(args.number)],
        env=kube.from_secret(args.migration.secret, CONTRACT.environment.database_owner_url),
        volume_mounts=[kube.mount("tmp", "/tmp"), *args.database.client_mounts],  # noqa: S108  # a volume of the pod
        termination_message_policy="FallbackToLogsOnError",
        resources=kube.resources("100m", "2", "256Mi"),
        security_context=kube.container_security(),
    )
