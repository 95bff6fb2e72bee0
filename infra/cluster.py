"""The connection to the cluster, the namespace and the PriorityClasses."""

from dataclasses import dataclass

import pulumi
import pulumi_kubernetes as k8s

import identity
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


def make_namespace(settings: Settings, provider: k8s.Provider) -> pulumi.Output[str]:
    """Create the namespace with the restricted Pod Security level, or use the existing one; return its name.

    Every object of the stack needs this name, so none is planned or changed in a wrong cluster.
    """
    name = _same_cluster(settings, provider).apply(lambda _: settings.namespace)
    if not settings.create_namespace:
        return name
    namespace = k8s.core.v1.Namespace(
        "namespace",
        metadata=k8s.meta.v1.ObjectMetaArgs(name=name, labels=POD_SECURITY),
        opts=pulumi.ResourceOptions(provider=provider, protect=settings.protect_data),
    )
    return kube.name_of(namespace.metadata)


def _same_cluster(settings: Settings, provider: k8s.Provider) -> pulumi.Output[None]:
    """Return an output that fails if the cluster is not the one that the stack met first, or does not answer.

    A stash keeps its first value, whatever later runs pass to it. It is protected like the data: a stack whose volume
    exists still knows its cluster.
    """
    in_cluster = pulumi.ResourceOptions(provider=provider)
    live = k8s.core.v1.Namespace.get(identity.NAMESPACE, identity.NAMESPACE, opts=in_cluster).metadata["uid"]
    record = pulumi.Stash(identity.RECORD, input=live, opts=pulumi.ResourceOptions(protect=settings.protect_data))

    def require_same(recorded: str, live: str) -> None:
        stack = pulumi.get_stack()
        try:
            identity.require_same(stack, recorded, live)
        except identity.WrongClusterError as error:
            raise pulumi.RunError(f"{error} `pulumi {' '.join(identity.FORGET)} --stack {stack}`.") from None

    return pulumi.Output.all(record.output, live).apply(lambda uids: require_same(*uids))


@dataclass(frozen=True, slots=True)
class Priorities:
    """The names of the PriorityClasses of database and bank, or None without them."""

    database: pulumi.Input[str] | None
    application: pulumi.Input[str] | None


def make_priorities(settings: Settings, namespace: pulumi.Input[str], provider: k8s.Provider) -> Priorities:
    """Create a class for the database and a lower one for the bank, auto-named because the class is cluster-wide."""
    if not settings.priority_classes:
        return Priorities(None, None)
    return Priorities(
        _priority("database", 1_000_000, namespace, provider), _priority("application", 900_000, namespace, provider)
    )


def _priority(name: str, value: int, namespace: pulumi.Input[str], provider: k8s.Provider) -> pulumi.Output[str]:
    priority_class = k8s.scheduling.v1.PriorityClass(
        f"neobank-{name}",
        metadata=k8s.meta.v1.ObjectMetaArgs(labels={"app.kubernetes.io/name": "neobank"}),
        description=pulumi.Output.concat(f"NeoBank's {name}, of the namespace ", namespace),
        value=value,
        preemption_policy="PreemptLowerPriority",
        opts=pulumi.ResourceOptions(provider=provider),
    )
    return kube.name_of(priority_class.metadata)
