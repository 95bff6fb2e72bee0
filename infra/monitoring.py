"""The metrics for Prometheus: the pod with the ledger's figures, and the metrics container of each serving pod.

Prometheus is not part of the stack; it finds the pods by their annotations. docs/observability.md explains the metrics.
"""

from dataclasses import dataclass

import pulumi
import pulumi_kubernetes as k8s

import kube
from contract import CONTRACT
from database import Database
from migration import Migration

COMPONENT = "figures"
DEPLOYMENT = "neobank-figures"
SECRET = "neobank-figures-secret"  # noqa: S105  # the name of an object

FOLDER = "/run/metrics"
_VOLUME = "metrics"
_FOLDER_SIZE = "32Mi"
"""In memory, so that a slow disk stalls no worker; a worker that has served every route needs about 1 MiB."""


@dataclass(frozen=True, kw_only=True)
class MonitoringArgs:
    """Inputs of the figures' pod; `migration` grants the view that the pod reads."""

    namespace: pulumi.Input[str]
    database: Database
    migration: Migration
    image: str


class Monitoring(pulumi.ComponentResource):
    """One pod that queries the database at each scrape, with a role that may read nothing else, and its Secret."""

    def __init__(self, name: str, args: MonitoringArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("neobank:infra:Monitoring", name, None, opts)
        url = args.database.logins["metrics"].url
        secret = k8s.core.v1.Secret(
            SECRET,
            metadata=kube.metadata(args.namespace, COMPONENT, SECRET),
            string_data={CONTRACT.environment.database_url: url},
            opts=pulumi.ResourceOptions(parent=self, depends_on=[args.database]),
        )
        account = kube.service_account(DEPLOYMENT, args.namespace, COMPONENT, pulumi.ResourceOptions(parent=self))
        k8s.apps.v1.Deployment(
            DEPLOYMENT,
            metadata=kube.metadata(args.namespace, COMPONENT, DEPLOYMENT),
            spec=k8s.apps.v1.DeploymentSpecArgs(
                replicas=1,
                selector=k8s.meta.v1.LabelSelectorArgs(match_labels=kube.selector(COMPONENT)),
                template=kube.pod(
                    COMPONENT,
                    scrape_annotations() | kube.checksum(url),
                    uid=CONTRACT.image.uid,
                    service_account=account,
                    containers=[_figures(args, secret)],
                    volumes=[kube.scratch("tmp"), *args.database.client_volumes],
                ),
            ),
            opts=pulumi.ResourceOptions(
                parent=self, depends_on=[args.migration], custom_timeouts=kube.DEPLOYMENT_TIMEOUTS
            ),
        )
        self.register_outputs({})


def scrape_annotations() -> dict[str, pulumi.Input[str]]:
    """Return the annotations by which Prometheus finds a pod that serves metrics."""
    return {
        "prometheus.io/scrape": "true",
        "prometheus.io/port": str(CONTRACT.ports.metrics),
        "prometheus.io/path": CONTRACT.paths.metrics,
    }


def shared_folder() -> k8s.core.v1.VolumeArgs:
    """Return the volume in which the workers of a pod store their metrics."""
    return kube.scratch(_VOLUME, memory=_FOLDER_SIZE)


def folder_variable() -> k8s.core.v1.EnvVarArgs:
    """Return the variable that names the folder, for the containers that write and read it."""
    return k8s.core.v1.EnvVarArgs(name=CONTRACT.environment.metrics_folder, value=FOLDER)


def folder_mount(*, read_only: bool) -> k8s.core.v1.VolumeMountArgs:
    """Return the mount of the folder."""
    return kube.mount(_VOLUME, FOLDER, read_only=read_only)


def sidecar(image: str) -> k8s.core.v1.ContainerArgs:
    """Return the container that serves a pod's metrics. It has no readiness probe: the bank serves without it."""
    return k8s.core.v1.ContainerArgs(
        name="metrics",
        image=image,
        image_pull_policy="IfNotPresent",
        command=CONTRACT.commands.metrics,
        env=[folder_variable()],
        ports=[_port()],
        volume_mounts=[kube.mount("tmp", "/tmp"), folder_mount(read_only=True)],  # noqa: S108  # a volume of the pod
        liveness_probe=_liveness_probe(),
        resources=kube.resources("10m", "1", "128Mi"),
        security_context=kube.container_security(),
    )


def _figures(args: MonitoringArgs, secret: k8s.core.v1.Secret) -> k8s.core.v1.ContainerArgs:
    """Return the container of the figures. The probes check only the port: a metric reports a missing database."""
    return k8s.core.v1.ContainerArgs(
        name="figures",
        image=args.image,
        image_pull_policy="IfNotPresent",
        command=CONTRACT.commands.figures,
        env=kube.from_secret(secret, CONTRACT.environment.database_url),
        ports=[_port()],
        volume_mounts=[kube.mount("tmp", "/tmp"), *args.database.client_mounts],  # noqa: S108  # a volume of the pod
        startup_probe=kube.tcp_probe("metrics", period=1, failures=300),
        readiness_probe=kube.tcp_probe("metrics", period=5, failures=2),
        liveness_probe=_liveness_probe(),
        resources=kube.resources("10m", "1", "128Mi"),
        security_context=kube.container_security(),
    )


def _liveness_probe() -> k8s.core.v1.ProbeArgs:
    """Return a probe that allows five minutes: on a busy node the start alone may take more than one."""
    return kube.tcp_probe("metrics", period=30, failures=10)


def _port() -> k8s.core.v1.ContainerPortArgs:
    return k8s.core.v1.ContainerPortArgs(name="metrics", container_port=CONTRACT.ports.metrics)
