"""The Ingress and the NetworkPolicies."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pulumi
import pulumi_kubernetes as k8s

import application
import database
import expiry
import kube
import migration
import monitoring
import pooler
import retirement
from contract import CONTRACT
from settings import Ingress as IngressSettings
from settings import Network as NetworkSettings

COMPONENT = "network"
CERTIFICATE = "neobank-tls"
APPLICATION_LOGIN = (application.COMPONENT, expiry.COMPONENT)
"""Components that use the application's login, through PgBouncer if it is enabled."""

OTHER_LOGINS = (migration.COMPONENT, retirement.COMPONENT, monitoring.COMPONENT)


@dataclass(frozen=True, kw_only=True)
class NetworkArgs:
    """Inputs of the Ingress and the NetworkPolicies."""

    namespace: pulumi.Input[str]
    ingress: IngressSettings
    settings: NetworkSettings
    pooled: bool


class Network(pulumi.ComponentResource):
    """The Ingress and the NetworkPolicies, each if the settings enable it."""

    def __init__(self, name: str, args: NetworkArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("neobank:infra:Network", name, None, opts)
        self._args = args
        if args.ingress.enabled:
            self._ingress()
        if args.settings.policies:
            self._policies()
        self.register_outputs({})

    def _ingress(self) -> None:
        """Create the Ingress. Without a controller the engine's await would time out, so it is skipped by default."""
        settings = self._args.ingress
        backend = k8s.networking.v1.IngressBackendArgs(
            service=k8s.networking.v1.IngressServiceBackendArgs(
                name=application.SERVICE, port=k8s.networking.v1.ServiceBackendPortArgs(name="http")
            )
        )
        path = k8s.networking.v1.HTTPIngressPathArgs(path="/", path_type="Prefix", backend=backend)
        rule = k8s.networking.v1.IngressRuleArgs(
            host=settings.host, http=k8s.networking.v1.HTTPIngressRuleValueArgs(paths=[path])
        )
        tls = k8s.networking.v1.IngressTLSArgs(hosts=[settings.host], secret_name=settings.tls_secret or CERTIFICATE)
        annotations = {} if settings.wait else dict(kube.SKIP_AWAIT)
        if settings.cluster_issuer:
            annotations["cert-manager.io/cluster-issuer"] = settings.cluster_issuer
        k8s.networking.v1.Ingress(
            "neobank-ingress",
            metadata=kube.metadata(self._args.namespace, COMPONENT, "neobank-ingress", annotations),
            spec=k8s.networking.v1.IngressSpecArgs(
                ingress_class_name=settings.class_name or None, rules=[rule], tls=[tls] if settings.tls else None
            ),
            opts=pulumi.ResourceOptions(parent=self),
        )

    def _policies(self) -> None:
        """Deny all traffic, then allow each flow by name.

        DNS is allowed to any address, because a selector of the DNS pods would not match a cache on the node.
        """
        all_pods = k8s.meta.v1.LabelSelectorArgs()
        bank = _selector((application.COMPONENT,))
        self._policy("deny-all", all_pods, ingress=[], egress=[])
        self._policy(
            "allow-dns",
            all_pods,
            egress=[k8s.networking.v1.NetworkPolicyEgressRuleArgs(ports=[_port(53, "UDP"), _port(53)])],
        )
        if self._args.pooled:
            self._flow_to_database(pooler.COMPONENT, APPLICATION_LOGIN)
        direct = (pooler.COMPONENT,) if self._args.pooled else APPLICATION_LOGIN
        self._flow_to_database(database.COMPONENT, (*direct, *OTHER_LOGINS))
        self._policy(
            "allow-metrics-from-monitoring",
            _selector((application.COMPONENT, monitoring.COMPONENT)),
            ingress=[
                k8s.networking.v1.NetworkPolicyIngressRuleArgs(
                    from_=[_namespace(self._args.settings.monitoring_namespace)],
                    ports=[_port(CONTRACT.ports.metrics)],
                )
            ],
        )
        if self._args.ingress.enabled:
            controller = _namespace(self._args.ingress.namespace)
            self._policy(
                "allow-bank-from-ingress",
                bank,
                ingress=[
                    k8s.networking.v1.NetworkPolicyIngressRuleArgs(
                        from_=[controller], ports=[_port(CONTRACT.ports.http)]
                    )
                ],
            )

    def _flow_to_database(self, server: str, clients: Sequence[str]) -> None:
        """Allow the connections from the clients to the server, for both ends."""
        to, from_ = _selector((server,)), _selector(clients)
        ports = [_port(CONTRACT.ports.database)]
        self._policy(
            f"allow-clients-to-{server}",
            from_,
            egress=[k8s.networking.v1.NetworkPolicyEgressRuleArgs(to=[_pods(to)], ports=ports)],
        )
        self._policy(
            f"allow-{server}-from-clients",
            to,
            ingress=[k8s.networking.v1.NetworkPolicyIngressRuleArgs(from_=[_pods(from_)], ports=ports)],
        )

    def _policy(
        self,
        name: str,
        pods: k8s.meta.v1.LabelSelectorArgs,
        *,
        ingress: Sequence[k8s.networking.v1.NetworkPolicyIngressRuleArgs] | None = None,
        egress: Sequence[k8s.networking.v1.NetworkPolicyEgressRuleArgs] | None = None,
    ) -> None:
        directions = {"Ingress": ingress, "Egress": egress}
        k8s.networking.v1.NetworkPolicy(
            name,
            metadata=kube.metadata(self._args.namespace, COMPONENT, name),
            spec=k8s.networking.v1.NetworkPolicySpecArgs(
                pod_selector=pods,
                policy_types=[direction for direction, rules in directions.items() if rules is not None],
                ingress=ingress,
                egress=egress,
            ),
            opts=pulumi.ResourceOptions(parent=self),
        )


def _selector(components: Sequence[str]) -> k8s.meta.v1.LabelSelectorArgs:
    labels: Mapping[str, str] = kube.selector(components[0])
    key = "app.kubernetes.io/component"
    shared = {name: value for name, value in labels.items() if name != key}
    expression = k8s.meta.v1.LabelSelectorRequirementArgs(key=key, operator="In", values=list(components))
    return k8s.meta.v1.LabelSelectorArgs(match_labels=shared, match_expressions=[expression])


def _pods(selector: k8s.meta.v1.LabelSelectorArgs) -> k8s.networking.v1.NetworkPolicyPeerArgs:
    return k8s.networking.v1.NetworkPolicyPeerArgs(pod_selector=selector)


def _namespace(name: str) -> k8s.networking.v1.NetworkPolicyPeerArgs:
    labels = {"kubernetes.io/metadata.name": name}
    return k8s.networking.v1.NetworkPolicyPeerArgs(
        namespace_selector=k8s.meta.v1.LabelSelectorArgs(match_labels=labels)
    )


def _port(number: int, protocol: str = "TCP") -> k8s.networking.v1.NetworkPolicyPortArgs:
    return k8s.networking.v1.NetworkPolicyPortArgs(port=number, protocol=protocol)
