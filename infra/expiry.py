"""The CronJob that removes expired rows: sessions, counters, stored responses, unpaid charges."""

from dataclasses import dataclass

import pulumi
import pulumi_kubernetes as k8s

import kube
from application import Application
from contract import CONTRACT
from database import Database

COMPONENT = "expiry"
NAME = "neobank-expire"

SCHEDULE = "17 * * * *"
"""Once an hour, at a minute that few other schedules use."""

LATEST_START_SECONDS = 600
DEADLINE_SECONDS = 300


@dataclass(frozen=True, kw_only=True)
class ExpiryArgs:
    """Inputs of the CronJob, which uses the application's login."""

    namespace: pulumi.Input[str]
    database: Database
    application: Application
    image: str


class Expiry(pulumi.ComponentResource):
    """A CronJob with one run at a time; it keeps the last successful Job and the last three failed Jobs."""

    def __init__(self, name: str, args: ExpiryArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("neobank:infra:Expiry", name, None, opts)
        account = kube.service_account(NAME, args.namespace, COMPONENT, pulumi.ResourceOptions(parent=self))
        k8s.batch.v1.CronJob(
            NAME,
            metadata=kube.metadata(args.namespace, COMPONENT, NAME),
            spec=k8s.batch.v1.CronJobSpecArgs(
                schedule=SCHEDULE,
                concurrency_policy="Forbid",
                starting_deadline_seconds=LATEST_START_SECONDS,
                successful_jobs_history_limit=1,
                failed_jobs_history_limit=3,
                job_template=k8s.batch.v1.JobTemplateSpecArgs(
                    metadata=k8s.meta.v1.ObjectMetaArgs(labels=kube.selector(COMPONENT)),
                    spec=k8s.batch.v1.JobSpecArgs(
                        backoff_limit=1,
                        active_deadline_seconds=DEADLINE_SECONDS,
                        template=kube.pod(
                            COMPONENT,
                            {},
                            uid=CONTRACT.image.uid,
                            service_account=account,
                            containers=[_container(args)],
                            volumes=[kube.scratch("tmp"), *args.database.client_volumes],
                            restart_policy="Never",
                        ),
                    ),
                ),
            ),
            opts=pulumi.ResourceOptions(parent=self),
        )
        self.register_outputs({})


def _container(args: ExpiryArgs) -> k8s.core.v1.ContainerArgs:
    return k8s.core.v1.ContainerArgs(
        name="expire",
        image=args.image,
        image_pull_policy="IfNotPresent",
        command=CONTRACT.commands.expire,
        env=kube.from_secret(args.application.secret, CONTRACT.environment.database_url),
        volume_mounts=[kube.mount("tmp", "/tmp"), *args.database.client_mounts],  # noqa: S108  # a volume of the pod
        termination_message_policy="FallbackToLogsOnError",
        resources=kube.resources("50m", "1", "256Mi"),
        security_context=kube.container_security(),
    )
