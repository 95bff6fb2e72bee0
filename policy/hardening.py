"""The rules for every object of a stack: a pure function for each rule, over resources as the engine passes them.

A rule yields one sentence for each violation, and nothing for resources that it does not concern. `__main__.py` turns
the rules into a policy pack for `pulumi preview --policy-pack policy`; the tests check all that the program registers.
"""

import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

Object = Mapping[str, Any]
"""A JSON object."""

PART_OF = "app.kubernetes.io/name"
COMPONENT = "app.kubernetes.io/component"
LABELS = (PART_OF, COMPONENT, "app.kubernetes.io/managed-by")

CLUSTER_WIDE = ("Namespace", "PriorityClass")
LONG_RUNNING = ("Deployment", "StatefulSet", "DaemonSet")
RBAC_KINDS = ("Role", "RoleBinding", "ClusterRole", "ClusterRoleBinding")
DNS_PORT = 53
VOLUME_SOURCES = {"configMap", "downwardAPI", "emptyDir", "persistentVolumeClaim", "projected", "secret"}

_PASSWORD_IN_URL = re.compile(r"[a-z][a-z0-9+.-]*://[^/\s:@]*:[^/\s@]+@")
_PASSWORD_IN_SETTINGS = re.compile(r"(?i)\bpassword\s*=\s*\w")
_SECRET_NAME = re.compile(
    r"(?i)(^|[_.-])(password|passwd|pgpassword|secret|token|credentials?|private[_.-]?key|secret[_.-]?key)$"
)
_DIGEST = re.compile(r"@sha256:[0-9a-f]{64}$")
_PEM = re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY-----")


@dataclass(frozen=True)
class Resource:
    """A registered resource: its type such as `kubernetes:apps/v1:Deployment`, its name and the provider's inputs."""

    type: str
    name: str
    properties: Object

    @property
    def kind(self) -> str:
        """The Kubernetes kind, or an empty string if the resource is not a Kubernetes object."""
        return self.type.rpartition(":")[2] if self.type.startswith("kubernetes:") else ""

    @property
    def labels(self) -> Object:
        """The object's labels."""
        return _at(self.properties, "metadata", "labels")

    @property
    def spec(self) -> Object:
        """The object's specification."""
        return _at(self.properties, "spec")

    @property
    def template(self) -> Object:
        """The pod template of a workload, or an empty object."""
        spec = _at(self.spec, "jobTemplate", "spec") if self.kind == "CronJob" else self.spec
        return (
            {"metadata": self.properties.get("metadata"), "spec": spec} if self.kind == "Pod" else _at(spec, "template")
        )

    @property
    def pod(self) -> Object:
        """The pod specification in the template."""
        return _at(self.template, "spec")

    @property
    def containers(self) -> list[Object]:
        """All containers of the pod specification, including the init containers."""
        return [*(self.pod.get("initContainers") or ()), *(self.pod.get("containers") or ())]


@dataclass(frozen=True)
class Rule:
    """A rule for a single resource; some apply only to production stacks."""

    name: str
    description: str
    check: Callable[[Resource], Iterator[str]]
    in_production_only: bool = False


@dataclass(frozen=True)
class StackRule:
    """A rule for all resources together; some apply only to production stacks."""

    name: str
    description: str
    check: Callable[[Sequence[Resource]], Iterator[str]]
    in_production_only: bool = False


def violations(resources: Sequence[Resource], *, production: bool) -> Iterator[str]:
    """Check all resources against all rules; yield `rule: resource: sentence` for each violation."""
    for rule in RULES:
        for resource in resources:
            if production or not rule.in_production_only:
                yield from (f"{rule.name}: {resource.name}: {sentence}" for sentence in rule.check(resource))
    for stack_rule in STACK_RULES:
        if production or not stack_rule.in_production_only:
            yield from (f"{stack_rule.name}: {sentence}" for sentence in stack_rule.check(resources))


def _at(value: Object, *keys: str) -> Object:
    """Return the nested object under the keys, or an empty object if a key is missing."""
    for key in keys:
        value = value.get(key) or {}
    return value


def _pods_are_restricted(resource: Resource) -> Iterator[str]:
    if not resource.pod:
        return
    security = _at(resource.pod, "securityContext")
    if security.get("runAsNonRoot") is not True or not security.get("runAsUser"):
        yield "its pods may run as root (runAsNonRoot, runAsUser)."
    if _at(security, "seccompProfile").get("type") != "RuntimeDefault":
        yield "its pods' seccompProfile is not RuntimeDefault."
    for field in ("hostNetwork", "hostPID", "hostIPC"):
        if resource.pod.get(field):
            yield f"its pods share the node's {field.removeprefix('host')}."
    if resource.pod.get("enableServiceLinks") is not False:
        yield "its pods get variables for every Service (enableServiceLinks)."


def _containers_are_restricted(resource: Resource) -> Iterator[str]:
    for container in resource.containers:
        security = _at(container, "securityContext")
        capabilities = _at(security, "capabilities")
        requirements = {
            "may gain privileges": security.get("allowPrivilegeEscalation") is False and not security.get("privileged"),
            "can write to its root file system": security.get("readOnlyRootFilesystem") is True,
            "keeps capabilities": capabilities.get("drop") == ["ALL"] and not capabilities.get("add"),
            "may be root": security.get("runAsNonRoot", True) is True and security.get("runAsUser", 1) != 0,
            "has another seccompProfile": _at(security, "seccompProfile").get("type", "RuntimeDefault")
            == "RuntimeDefault",
        }
        yield from (f"container {container['name']} {fault}." for fault, met in requirements.items() if not met)


def _no_token(resource: Resource) -> Iterator[str]:
    if resource.kind == "ServiceAccount" and resource.properties.get("automountServiceAccountToken") is not False:
        yield "it mounts its token into pods (automountServiceAccountToken)."
    if resource.pod:
        if resource.pod.get("automountServiceAccountToken") is not False:
            yield "its pods get a token for the Kubernetes API."
        if resource.pod.get("serviceAccountName") in {None, "", "default"}:
            yield "its pods have no ServiceAccount of their own."


def _no_rights(resource: Resource) -> Iterator[str]:
    if resource.kind in RBAC_KINDS:
        yield "no pod here uses the Kubernetes API, so none needs rights in it."


def _volumes_are_restricted(resource: Resource) -> Iterator[str]:
    for volume in resource.pod.get("volumes") or ():
        sources = {source for source, value in volume.items() if source != "name" and value is not None}
        if not sources or not sources <= VOLUME_SOURCES:
            yield f"volume {volume['name']} has a source that is not allowed ({', '.join(sorted(sources))})."
        for source in _at(volume, "projected").get("sources") or ():
            if source.get("serviceAccountToken"):
                yield f"volume {volume['name']} contains a token for the Kubernetes API."


def _containers_have_resources(resource: Resource) -> Iterator[str]:
    for container in resource.containers:
        for side in ("requests", "limits"):
            given = _at(container, "resources", side)
            missing = [name for name in ("cpu", "memory", "ephemeral-storage") if not given.get(name)]
            if missing:
                yield f"container {container['name']} has no {side} for {' and '.join(missing)}."


def _images_have_versions(resource: Resource) -> Iterator[str]:
    for container in resource.containers:
        image = container.get("image") or ""
        if not _DIGEST.search(image) and image.rpartition("/")[2].partition(":")[2] in {"", "latest"}:
            yield f"container {container['name']} runs {image or 'no image'}, whose tag may name another image later."


def _images_have_digests(resource: Resource) -> Iterator[str]:
    for container in resource.containers:
        image = container.get("image") or ""
        if not _DIGEST.search(image):
            yield f"container {container['name']} runs {image}, which has no digest."


def _servers_have_probes(resource: Resource) -> Iterator[str]:
    if resource.kind not in LONG_RUNNING:
        return
    sidecars = [it for it in resource.pod.get("initContainers") or () if it.get("restartPolicy") == "Always"]
    containers = [*sidecars, *(resource.pod.get("containers") or ())]
    for container in containers:
        if not container.get("livenessProbe"):
            yield f"container {container['name']} has no liveness probe."
    if not any(container.get("readinessProbe") for container in containers):
        yield "no container of its pods has a readiness probe, so Services cannot know when they are ready."


def _no_plaintext_secret(resource: Resource) -> Iterator[str]:
    entries: list[tuple[str, object]] = []
    if resource.kind == "ConfigMap":
        entries += [*_at(resource.properties, "data").items(), *_at(resource.properties, "binaryData").items()]
    entries += [*_at(resource.properties, "metadata", "annotations").items()]
    entries += [*_at(resource.template, "metadata", "annotations").items()]
    for container in resource.containers:
        entries += [(it["name"], it.get("value")) for it in container.get("env") or ()]
        entries += [(f"{container['name']}'s command", argument) for argument in container.get("command") or ()]
        entries += [(f"{container['name']}'s arguments", argument) for argument in container.get("args") or ()]
    for name, value in entries:
        text = value if isinstance(value, str) else ""
        is_path = text.startswith("/")  # variables such as PGPASSFILE name the path of a mounted secret
        named = text and not is_path and _SECRET_NAME.search(name)
        if named or any(pattern.search(text) for pattern in (_PASSWORD_IN_URL, _PASSWORD_IN_SETTINGS, _PEM)):
            yield f"{name} contains a secret in plain text: move it to a Secret."


def _nothing_is_reachable_from_outside(resource: Resource) -> Iterator[str]:
    if resource.kind == "Service":
        if resource.spec.get("type", "ClusterIP") != "ClusterIP":
            yield f"it is a {resource.spec['type']}: only the Ingress may be reachable from outside."
        if resource.spec.get("externalIPs") or any(port.get("nodePort") for port in resource.spec.get("ports") or ()):
            yield "it opens addresses or ports outside the cluster (externalIPs, nodePort)."
    for container in resource.containers:
        if any(port.get("hostPort") for port in container.get("ports") or ()):
            yield f"container {container['name']} uses a port of the node (hostPort)."


def _ingresses_have_tls(resource: Resource) -> Iterator[str]:
    if resource.kind == "Ingress":
        covered = {host for entry in resource.spec.get("tls") or () for host in entry.get("hosts") or ()}
        for rule in resource.spec.get("rules") or ():
            if rule.get("host") not in covered:
                yield f"{rule.get('host') or 'every host'} is served without TLS."


def _objects_are_labelled(resource: Resource) -> Iterator[str]:
    if not resource.kind or resource.type.startswith("kubernetes:provider") or resource.kind in CLUSTER_WIDE:
        return
    missing = [label for label in LABELS if not resource.labels.get(label)]
    if missing:
        yield f"it lacks the labels {', '.join(missing)}."
    of_pods = _at(resource.template, "metadata", "labels")
    if resource.pod and not (of_pods.get(PART_OF) and of_pods.get(COMPONENT)):
        yield f"its pods lack the labels {PART_OF} and {COMPONENT}: no NetworkPolicy would select them."


def _jobs_end(resource: Resource) -> Iterator[str]:
    if resource.kind in {"Job", "CronJob"}:
        spec = _at(resource.spec, "jobTemplate", "spec") if resource.kind == "CronJob" else resource.spec
        if not spec.get("activeDeadlineSeconds"):
            yield "it has no activeDeadlineSeconds, so it may run for ever."
        if spec.get("backoffLimit", 6) > 1:
            yield "it runs more than twice (backoffLimit), which delays the report of a failure by minutes."


def _namespaces_are_restricted(resource: Resource) -> Iterator[str]:
    if resource.kind == "Namespace" and resource.labels.get("pod-security.kubernetes.io/enforce") != "restricted":
        yield "it admits pods outside the restricted level (pod-security.kubernetes.io/enforce)."


def _flows_are_narrow(resource: Resource) -> Iterator[str]:
    if resource.kind != "NetworkPolicy":
        return
    for direction, peers in (("ingress", "from"), ("egress", "to")):
        for rule in resource.spec.get(direction) or ():
            ports = [it.get("port") for it in rule.get("ports") or ()]
            if not ports or None in ports:
                yield f"an {direction} rule allows every port."
            if not rule.get(peers) and (direction == "ingress" or set(ports) != {DNS_PORT}):
                yield f"an {direction} rule allows every peer."
            for peer in rule.get(peers) or ():
                selectors = [peer[it] for it in ("namespaceSelector", "podSelector") if it in peer]
                if not peer or any(not selector for selector in selectors):
                    yield f"an {direction} rule allows a peer whose selector matches everything."


def _accounts_are_not_shared(resources: Sequence[Resource]) -> Iterator[str]:
    used = Counter(it.pod["serviceAccountName"] for it in resources if it.pod.get("serviceAccountName"))
    yield from (f"{count} workloads share the ServiceAccount {name}." for name, count in used.items() if count > 1)


def _traffic_is_denied_by_default(resources: Sequence[Resource]) -> Iterator[str]:
    denying = [
        it
        for it in resources
        if it.kind == "NetworkPolicy"
        and not any(_at(it.spec, "podSelector").values())
        and {"Ingress", "Egress"} == set(it.spec.get("policyTypes") or ())
        and not it.spec.get("ingress")
        and not it.spec.get("egress")
    ]
    if not denying:
        yield "no NetworkPolicy denies the traffic that the others do not allow."


def _several_pods_have_a_budget(resources: Sequence[Resource]) -> Iterator[str]:
    budgets = [_at(it.spec, "selector", "matchLabels") for it in resources if it.kind == "PodDisruptionBudget"]
    for workload in resources:
        several = workload.kind in {"Deployment", "StatefulSet"} and (workload.spec.get("replicas") or 1) > 1
        labels = _at(workload.template, "metadata", "labels")
        if several and not any(budget and budget.items() <= labels.items() for budget in budgets):
            yield f"{workload.name} has several pods and no PodDisruptionBudget: a drain may take all of them at once."


RULES = [
    Rule(
        "pods-are-restricted",
        "Pods do not run as root, share no namespace of the node, and use seccomp.",
        _pods_are_restricted,
    ),
    Rule(
        "containers-are-restricted",
        "Containers have no capabilities and a read-only root file system.",
        _containers_are_restricted,
    ),
    Rule("no-token", "Pods have their own ServiceAccount, and no token.", _no_token),
    Rule("no-rights", "No pod has rights in the cluster.", _no_rights),
    Rule(
        "volumes-are-restricted",
        "Volumes give access neither to the node nor to the Kubernetes API.",
        _volumes_are_restricted,
    ),
    Rule("containers-have-resources", "Containers have requests and limits.", _containers_have_resources),
    Rule("images-have-versions", "An image has a digest, or a tag other than latest.", _images_have_versions),
    Rule("images-have-digests", "In production an image has a digest.", _images_have_digests, in_production_only=True),
    Rule(
        "servers-have-probes",
        "Servers have a readiness probe, and each of their containers a liveness probe.",
        _servers_have_probes,
    ),
    Rule("no-plaintext-secret", "Secrets are only in Secret objects.", _no_plaintext_secret),
    Rule(
        "nothing-is-reachable-from-outside",
        "Only the Ingress is reachable from outside.",
        _nothing_is_reachable_from_outside,
    ),
    Rule("ingresses-have-tls", "In production every host has TLS.", _ingresses_have_tls, in_production_only=True),
    Rule("objects-are-labelled", "Objects and pods have the common labels.", _objects_are_labelled),
    Rule("flows-are-narrow", "A NetworkPolicy names the peers and the ports that it allows.", _flows_are_narrow),
    Rule("jobs-end", "Jobs have a deadline and fail early.", _jobs_end),
    Rule("namespaces-are-restricted", "A namespace admits restricted pods only.", _namespaces_are_restricted),
]
STACK_RULES = [
    StackRule("accounts-are-not-shared", "Each workload has its own ServiceAccount.", _accounts_are_not_shared),
    StackRule(
        "traffic-is-denied-by-default",
        "In production, all traffic is denied by default.",
        _traffic_is_denied_by_default,
        in_production_only=True,
    ),
    StackRule(
        "several-pods-have-a-budget",
        "In production a node drain does not evict all pods of a workload.",
        _several_pods_have_a_budget,
        in_production_only=True,
    ),
]
