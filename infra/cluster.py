"""Which cluster, and the namespace in it that holds everything."""

from dataclasses import dataclass

import pulumi
import pulumi_kubernetes as k8s

import kube
from settings import Settings

POD_SECURITY = {f"pod-security.kubernetes.io/{mode}": "restricted" for mode in ("enforce", "audit", "warn")}


def connect(settings: Settings) -> k8s.Provider:
    """Reach the configured context of the kubeconfig that the environment names.

    A stack has one cluster for life, so its name is the cluster's identity: the same cluster under another address or
    context is not taken for a new one, which would replace the volume. Secrets and ConfigMaps change in place, or there
    would be a moment without them.
    """
    return k8s.Provider(
        "cluster",
        kubeconfig="",  # without this the SDK puts the path of $KUBECONFIG in the state, and no other machine has it
        context=settings.kube_context or None,
        cluster_identifier=f"{pulumi.get_project()}/{pulumi.get_stack()}",
        enable_secret_mutable=True,
        enable_config_map_mutable=True,
    )


def make_namespace(settings: Settings, provider: k8s.Provider) -> pulumi.Input[str]:
    """Make the namespace, where every pod must pass the restricted level, or name the one that exists."""
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
    """Which pods stay where a node is full: the names of PriorityClasses, or none."""

    database: pulumi.Input[str] | None
    application: pulumi.Input[str] | None


def make_priorities(settings: Settings, provider: k8s.Provider) -> Priorities:
    """Make a class for the database and a lower one for the bank; auto-named, since the whole cluster shares them."""
    if not settings.priority_classes:
        return Priorities(None, None)
    return Priorities(_priority("database", 1_000_000, provider), _priority("application", 900_000, provider))


def _priority(name: str, value: int, provider: k8s.Provider) -> pulumi.Output[str]:
    made = k8s.scheduling.v1.PriorityClass(
        f"neobank-{name}",
        metadata=k8s.meta.v1.ObjectMetaArgs(labels={"app.kubernetes.io/name": "neobank"}),
        description=f"NeoBank's {name}, of stack {pulumi.get_stack()}",
        value=value,
        preemption_policy="PreemptLowerPriority",
        opts=pulumi.ResourceOptions(provider=provider),
    )
    return kube.name_of(made.metadata)
