"""The pods that serve the bank: stateless, rolled out one by one, after the migration of the schema."""

from dataclasses import dataclass

import pulumi
import pulumi_kubernetes as k8s

import kube
import monitoring
from contract import CONTRACT
from database import Database
from migration import Migration
from settings import Application as ApplicationSettings
from settings import Ingress as IngressSettings

COMPONENT = "application"
CONFIG_MAP = "neobank-config"
CONTAINER = "neobank"
DEPLOYMENT = "neobank-deployment"
SECRET = "neobank-secret"  # noqa: S105  # the name of an object
SERVICE = "neobank-service"
SERVICE_PORT = 80

GRACE_SECONDS = 45
"""From the start of the termination to SIGKILL: the drain, gunicorn's graceful timeout and a margin."""


@dataclass(frozen=True, kw_only=True)
class ApplicationArgs:
    """Inputs of the serving pods; `migration` is the Job that must finish first."""

    namespace: pulumi.Input[str]
    database: Database
    migration: Migration
    image: str
    secret_key: pulumi.Output[str]
    settings: ApplicationSettings
    ingress: IngressSettings
    casino_time_zone: str
    priority_class: pulumi.Input[str] | None


class Application(pulumi.ComponentResource):
    """The Deployment with its Secret and ConfigMap, the Service, an optional autoscaler and PodDisruptionBudget."""

    url: pulumi.Output[str]
    """The URL for players, or without an Ingress the URL inside the cluster."""

    secret: k8s.core.v1.Secret

    def __init__(self, name: str, args: ApplicationArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("neobank:infra:Application", name, None, opts)
        self._args = args
        names = CONTRACT.environment
        secrets = {
            names.database_url: args.database.logins["application"].url,
            names.secret_key: args.secret_key,
        }
        config = {
            names.workers: str(args.settings.workers),
            names.threads: str(args.settings.threads),
            names.connections: str(args.settings.connections),
            names.port: str(CONTRACT.ports.http),
            names.rate_limits: args.settings.rate_limits,
            names.cors_origins: args.settings.cors_origins,
            names.trusted_proxies: str(args.ingress.trusted_proxies if args.ingress.enabled else 0),
            names.casino_time_zone: args.casino_time_zone,
        }
        self.secret = k8s.core.v1.Secret(
            SECRET,
            metadata=kube.metadata(args.namespace, COMPONENT, SECRET),
            string_data=secrets,
            opts=pulumi.ResourceOptions(parent=self, depends_on=[args.database]),
        )
        config_map = k8s.core.v1.ConfigMap(
            CONFIG_MAP,
            metadata=kube.metadata(args.namespace, COMPONENT, CONFIG_MAP),
            data=config,
            opts=pulumi.ResourceOptions(parent=self),
        )
        deployment = self._deployment(
            _container(args, self.secret, kube.name_of(config_map.metadata)),
            kube.checksum(*config.values(), *secrets.values()),
        )
        if args.settings.max_replicas is not None:
            self._autoscaler(deployment, args.settings.max_replicas)
        if args.settings.disruption_budget:
            kube.disruption_budget(
                "neobank-disruption-budget", args.namespace, COMPONENT, pulumi.ResourceOptions(parent=self)
            )
        service = kube.name_of(self._service().metadata)
        inside = pulumi.Output.concat("http://", service, ".", args.namespace, ".svc")
        scheme = "https" if args.ingress.tls else "http"
        self.url = pulumi.Output.concat(f"{scheme}://", args.ingress.host) if args.ingress.enabled else inside
        self.register_outputs({"url": self.url})

    def _deployment(
        self, container: k8s.core.v1.ContainerArgs, annotations: dict[str, pulumi.Output[str]]
    ) -> k8s.apps.v1.Deployment:
        account = kube.service_account("neobank", self._args.namespace, COMPONENT, pulumi.ResourceOptions(parent=self))
        template = kube.pod(
            COMPONENT,
            {"kubectl.kubernetes.io/default-container": CONTAINER} | monitoring.scrape_annotations() | annotations,
            uid=CONTRACT.image.uid,
            service_account=account,
            containers=[container, monitoring.sidecar(self._args.image)],
            volumes=[kube.scratch("tmp"), monitoring.shared_folder(), *self._args.database.client_volumes],
            grace_seconds=GRACE_SECONDS,
            priority_class=self._args.priority_class,
            spread=True,
        )
        autoscaled = self._args.settings.max_replicas is not None
        return k8s.apps.v1.Deployment(
            DEPLOYMENT,
            metadata=kube.metadata(self._args.namespace, COMPONENT, DEPLOYMENT, kube.PATCH_FORCE),
            spec=k8s.apps.v1.DeploymentSpecArgs(
                replicas=self._args.settings.replicas,
                strategy=kube.rolling_update(),
                selector=k8s.meta.v1.LabelSelectorArgs(match_labels=kube.selector(COMPONENT)),
                template=template,
            ),
            opts=pulumi.ResourceOptions(
                parent=self,
                depends_on=[self._args.migration],
                custom_timeouts=kube.DEPLOYMENT_TIMEOUTS,
                ignore_changes=["spec.replicas"] if autoscaled else None,
            ),
        )

    def _autoscaler(self, deployment: k8s.apps.v1.Deployment, most: int) -> None:
        """Scale by the CPU use of the serving container. This needs the metrics-server in the cluster.

        The CPU use of the whole pod would include the metrics container, which is nearly idle: the higher its CPU
        request, the later a pod would be added.
        """
        target = k8s.autoscaling.v2.MetricTargetArgs(
            type="Utilization", average_utilization=self._args.settings.target_cpu
        )
        k8s.autoscaling.v2.HorizontalPodAutoscaler(
            "neobank-autoscaler",
            metadata=kube.metadata(self._args.namespace, COMPONENT, "neobank-autoscaler", kube.SKIP_AWAIT),
            spec=k8s.autoscaling.v2.HorizontalPodAutoscalerSpecArgs(
                scale_target_ref=k8s.autoscaling.v2.CrossVersionObjectReferenceArgs(
                    api_version="apps/v1", kind="Deployment", name=kube.name_of(deployment.metadata)
                ),
                min_replicas=self._args.settings.replicas,
                max_replicas=most,
                metrics=[
                    k8s.autoscaling.v2.MetricSpecArgs(
                        type="ContainerResource",
                        container_resource=k8s.autoscaling.v2.ContainerResourceMetricSourceArgs(
                            container=CONTAINER, name="cpu", target=target
                        ),
                    )
                ],
            ),
            opts=pulumi.ResourceOptions(parent=self),
        )

    def _service(self) -> k8s.core.v1.Service:
        return k8s.core.v1.Service(
            SERVICE,
            metadata=kube.metadata(self._args.namespace, COMPONENT, SERVICE, kube.SKIP_AWAIT),
            spec=k8s.core.v1.ServiceSpecArgs(
                type="ClusterIP",
                selector=kube.selector(COMPONENT),
                ports=[k8s.core.v1.ServicePortArgs(name="http", port=SERVICE_PORT, target_port="http")],
            ),
            opts=pulumi.ResourceOptions(parent=self),
        )


def _container(
    args: ApplicationArgs, secret: k8s.core.v1.Secret, config_map: pulumi.Output[str]
) -> k8s.core.v1.ContainerArgs:
    """Readiness includes the database; liveness does not, or a short database outage would restart every pod."""
    names, paths = CONTRACT.environment, CONTRACT.paths
    return k8s.core.v1.ContainerArgs(
        name=CONTAINER,
        image=args.image,
        image_pull_policy="IfNotPresent",
        command=CONTRACT.commands.serve,
        env=[*kube.from_secret(secret, names.database_url, names.secret_key), monitoring.folder_variable()],
        env_from=[k8s.core.v1.EnvFromSourceArgs(config_map_ref=k8s.core.v1.ConfigMapEnvSourceArgs(name=config_map))],
        ports=[k8s.core.v1.ContainerPortArgs(name="http", container_port=CONTRACT.ports.http)],
        volume_mounts=[
            kube.mount("tmp", "/tmp"),  # noqa: S108  # a volume of the pod
            monitoring.folder_mount(read_only=False),
            *args.database.client_mounts,
        ],
        startup_probe=kube.http_probe(paths.live, period=1, failures=60),
        readiness_probe=kube.http_probe(paths.ready, period=5, failures=2),
        liveness_probe=kube.http_probe(paths.live, period=10, failures=3),
        lifecycle=kube.drain(),
        resources=kube.resources(args.settings.cpu, args.settings.cpu_limit, args.settings.memory),
        security_context=kube.container_security(),
    )
