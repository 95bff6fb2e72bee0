"""The connection to the cluster, the namespace and the PriorityClasses."""

from dataclasses import dataclass

import pulumi
import pulumi_kubernetes as k8s

import kube
from settings import Settings

POD_SECURITY = {f"pod-security.kubernetes.io/{mode}": "restricted" for mode in ("enforce", "audit", "warn")}


def connect(settings: Settings) -> k8s.Provider:
    """Return the provider for the configured context of the kubeconfig that the environment names.

    A stack stays in one cluster, so the stack's name identifies the cluster: another address or context of the same
    cluster does not count as a new cluster, which would replace the volume. Secrets and ConfigMaps are updated in
    place, because a replacement would delete them for a moment.
    """
    return k8s.Provider(
        "cluster",
        kubeconfig="",  # otherwise the SDK stores the path of $KUBECONFIG in the state, where other machines lack it
        context=settings.kube_context or None,
        cluster_identifier=f"{pulumi.get_project()}/{pulumi.get_stack()}",
        enable_secret_mutable=True,
        enable_config_map_mutable=True,
    )


def make_namespace(settings: Settings, provider: k8s.Provider) -> pulumi.Input[str]:
    """Create the namespace with the restricted Pod Security level, or use the existing one; return its name."""
    if not settings.create_namespace:
        return settings.namespace
    namespace = k8s.core.v1.Namespace(
        "namespace",
        metadata=k8s.meta.v1.ObjectMetaArgs(name=settings.namespace, labels=POD_SECURITY),
        opts=pulumi.ResourceOptions(provider=provider, protect=settings.protect_data),
    )
    return kube.name_of(namespace.metadata)


@dataclass(frozen=True, slots=True)
class Priorities:
    """The names of the PriorityClasses of database and bank, or None without them."""

    database: pulumi.Input[str] | None
    application: pulumi.Input[str] | None


def make_priorities(settings: Settings, provider: k8s.Provider) -> Priorities:
    """Create a class for the database and a lower one for the bank, auto-named because the class is cluster-wide."""
    if not settings.priority_classes:
        return Priorities(None, None)
    return Priorities(_priority("database", 1_000_000, provider), _priority("application", 900_000, provider))


def _priority(name: str, value: int, provider: k8s.Provider) -> pulumi.Output[str]:
    priority_class = k8s.scheduling.v1.PriorityClass(
        f"neobank-{name}",
        metadata=k8s.meta.v1.ObjectMetaArgs(labels={"app.kubernetes.io/name": "neobank"}),
        description=f"NeoBank's {name}, of stack {pulumi.get_stack()}",
        value=value,
        preemption_policy="PreemptLowerPriority",
        opts=pulumi.ResourceOptions(provider=provider),
    )
    return kube.name_of(priority_class.metadata)
