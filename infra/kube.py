"""Pure functions for the common parts of objects and pods: labels, names, the restricted security context, probes."""

import hashlib
import json
from collections.abc import Mapping, Sequence

import pulumi
import pulumi_kubernetes as k8s

PATCH_FORCE = {"pulumi.com/patchForce": "true"}
"""For objects that other managers change too: server-side apply takes a field back without a conflict."""

SKIP_AWAIT = {"pulumi.com/skipAwait": "true"}
"""For Services: the engine's await takes 10 s, and the Deployment already proves that its pods are ready."""

DEPLOYMENT_TIMEOUTS = pulumi.CustomTimeouts(create="10m", update="10m", delete="5m")
"""A Deployment without progress only causes a warning; after these timeouts the engine fails."""

JOB_TIMEOUT = pulumi.CustomTimeouts(create="10m")
JOB_DEADLINE_SECONDS = 540
"""Less than the create timeout, so that the Job itself reports its failure."""

DRAIN_SECONDS = 5

EPHEMERAL_REQUEST, EPHEMERAL_LIMIT = "64Mi", "1Gi"
"""Disk of the node for a container's log and emptyDir volumes. A container beyond the limit is evicted; none of ours
keeps data there, and the kubelet rotates logs at 50 MiB."""


def selector(component: str) -> dict[str, str]:
    """Return the labels by which a workload selects its pods; they must never change."""
    return {"app.kubernetes.io/name": "neobank", "app.kubernetes.io/component": component}


def metadata(
    namespace: pulumi.Input[str],
    component: str,
    name: str | None = None,
    annotations: Mapping[str, pulumi.Input[str]] | None = None,
) -> k8s.meta.v1.ObjectMetaArgs:
    """Return an object's metadata; without a name the engine generates one, and can create a replacement first."""
    labels = {**selector(component), "app.kubernetes.io/managed-by": "pulumi"}
    return k8s.meta.v1.ObjectMetaArgs(name=name, namespace=namespace, labels=labels, annotations=annotations)


def name_of(metadata_output: pulumi.Output[k8s.meta.v1.outputs.ObjectMeta]) -> pulumi.Output[str]:
    """Return an object's name as an output, so that a resource that uses it depends on the object."""
    return metadata_output.apply(lambda metadata: metadata.name or "")


def service_hosts(service: str, namespace: str) -> list[str]:
    """Return every DNS name of a Service inside the cluster, the shortest first."""
    return [service, *(f"{service}.{namespace}{end}" for end in ("", ".svc", ".svc.cluster.local"))]


def checksum(*inputs: pulumi.Input[str]) -> dict[str, pulumi.Output[str]]:
    """Return the annotation that causes a rollout when one of the pod's inputs changes.

    It is not secret: SHA-256 of values that contain a random password cannot be reversed.
    """
    digest = pulumi.Output.all(*inputs).apply(lambda values: hashlib.sha256(json.dumps(values).encode()).hexdigest())
    return {"checksum/inputs": pulumi.Output.unsecret(digest)}


def pod(
    component: str,
    annotations: Mapping[str, pulumi.Input[str]],
    *,
    uid: int,
    service_account: k8s.core.v1.ServiceAccount,
    containers: Sequence[k8s.core.v1.ContainerArgs],
    init_containers: Sequence[k8s.core.v1.ContainerArgs] | None = None,
    volumes: Sequence[k8s.core.v1.VolumeArgs],
    grace_seconds: int = 30,
    restart_policy: str = "Always",
    priority_class: pulumi.Input[str] | None = None,
    spread: bool = False,
) -> k8s.core.v1.PodTemplateSpecArgs:
    """Return a pod template of the restricted level, with its own ServiceAccount and without a token.

    Service links are off: they would set variables such as NEOBANK_SERVICE_PORT to addresses.
    """
    return k8s.core.v1.PodTemplateSpecArgs(
        metadata=k8s.meta.v1.ObjectMetaArgs(labels=selector(component), annotations=annotations),
        spec=k8s.core.v1.PodSpecArgs(
            service_account_name=name_of(service_account.metadata),
            automount_service_account_token=False,
            enable_service_links=False,
            restart_policy=restart_policy,
            termination_grace_period_seconds=grace_seconds,
            priority_class_name=priority_class,
            topology_spread_constraints=_spread(component) if spread else None,
            security_context=k8s.core.v1.PodSecurityContextArgs(
                run_as_non_root=True,
                run_as_user=uid,
                run_as_group=uid,
                fs_group=uid,
                fs_group_change_policy="OnRootMismatch",
                seccomp_profile=k8s.core.v1.SeccompProfileArgs(type="RuntimeDefault"),
            ),
            init_containers=init_containers,
            containers=containers,
            volumes=volumes,
        ),
    )


def _spread(component: str) -> list[k8s.core.v1.TopologySpreadConstraintArgs]:
    """Prefer different nodes and zones; with only one of them, all pods run there."""
    return [
        k8s.core.v1.TopologySpreadConstraintArgs(
            max_skew=1,
            topology_key=key,
            when_unsatisfiable="ScheduleAnyway",
            label_selector=k8s.meta.v1.LabelSelectorArgs(match_labels=selector(component)),
            match_label_keys=["pod-template-hash"],
        )
        for key in ("kubernetes.io/hostname", "topology.kubernetes.io/zone")
    ]


def container_security() -> k8s.core.v1.SecurityContextArgs:
    """Return the security context: no capability, no privilege escalation, a read-only root file system."""
    return k8s.core.v1.SecurityContextArgs(
        allow_privilege_escalation=False,
        read_only_root_filesystem=True,
        capabilities=k8s.core.v1.CapabilitiesArgs(drop=["ALL"]),
    )


def resources(cpu: str, cpu_limit: str, memory: str) -> k8s.core.v1.ResourceRequirementsArgs:
    """Return requests and limits. The memory limit equals the request, so that other pods cannot cause an eviction."""
    return k8s.core.v1.ResourceRequirementsArgs(
        requests={"cpu": cpu, "memory": memory, "ephemeral-storage": EPHEMERAL_REQUEST},
        limits={"cpu": cpu_limit, "memory": memory, "ephemeral-storage": EPHEMERAL_LIMIT},
    )


def service_account(
    name: str, namespace: pulumi.Input[str], component: str, opts: pulumi.ResourceOptions
) -> k8s.core.v1.ServiceAccount:
    """Create the ServiceAccount of one workload, which never uses the Kubernetes API."""
    return k8s.core.v1.ServiceAccount(
        name, metadata=metadata(namespace, component), automount_service_account_token=False, opts=opts
    )


def disruption_budget(
    name: str, namespace: pulumi.Input[str], component: str, opts: pulumi.ResourceOptions
) -> k8s.policy.v1.PodDisruptionBudget:
    """Create a budget that allows one unavailable pod; a pod that is not ready may always be evicted."""
    return k8s.policy.v1.PodDisruptionBudget(
        name,
        metadata=metadata(namespace, component, name),
        spec=k8s.policy.v1.PodDisruptionBudgetSpecArgs(
            max_unavailable=1,
            selector=k8s.meta.v1.LabelSelectorArgs(match_labels=selector(component)),
            unhealthy_pod_eviction_policy="AlwaysAllow",
        ),
        opts=opts,
    )


def rolling_update() -> k8s.apps.v1.DeploymentStrategyArgs:
    """Return the strategy that replaces one pod at a time, after the new pod is ready."""
    return k8s.apps.v1.DeploymentStrategyArgs(
        type="RollingUpdate", rolling_update=k8s.apps.v1.RollingUpdateDeploymentArgs(max_surge=1, max_unavailable=0)
    )


def scratch(name: str, *, memory: str | None = None) -> k8s.core.v1.VolumeArgs:
    """Return an emptyDir volume on the node's disk or, with a size such as `32Mi`, in the pod's memory."""
    source = k8s.core.v1.EmptyDirVolumeSourceArgs(medium="Memory" if memory else None, size_limit=memory)
    return k8s.core.v1.VolumeArgs(name=name, empty_dir=source)


def mount(name: str, path: str, *, read_only: bool = False) -> k8s.core.v1.VolumeMountArgs:
    """Return the mount of a volume of the pod."""
    return k8s.core.v1.VolumeMountArgs(name=name, mount_path=path, read_only=read_only)


def drain() -> k8s.core.v1.LifecycleArgs:
    """Return a preStop hook that keeps the container serving until all nodes have stopped sending new connections."""
    sleep = k8s.core.v1.SleepActionArgs(seconds=DRAIN_SECONDS)
    return k8s.core.v1.LifecycleArgs(pre_stop=k8s.core.v1.LifecycleHandlerArgs(sleep=sleep))


def http_probe(path: str, *, period: int, failures: int) -> k8s.core.v1.ProbeArgs:
    """Return a probe of the port named http: period in seconds, consecutive failures that count."""
    return k8s.core.v1.ProbeArgs(
        http_get=k8s.core.v1.HTTPGetActionArgs(path=path, port="http"),
        period_seconds=period,
        timeout_seconds=5,
        failure_threshold=failures,
    )


def tcp_probe(port: str, *, period: int, failures: int) -> k8s.core.v1.ProbeArgs:
    """Return a probe that connects to a named port: period in seconds, consecutive failures that count."""
    return k8s.core.v1.ProbeArgs(
        tcp_socket=k8s.core.v1.TCPSocketActionArgs(port=port),
        period_seconds=period,
        timeout_seconds=5,
        failure_threshold=failures,
    )


def command_probe(command: Sequence[str], *, period: int, failures: int) -> k8s.core.v1.ProbeArgs:
    """Return a probe that runs a command: period in seconds, consecutive failures that count."""
    return k8s.core.v1.ProbeArgs(
        exec_=k8s.core.v1.ExecActionArgs(command=list(command)),
        period_seconds=period,
        timeout_seconds=5,
        failure_threshold=failures,
    )


def from_secret(secret: k8s.core.v1.Secret, *variables: str) -> list[k8s.core.v1.EnvVarArgs]:
    """Return environment variables whose values are the entries of the same names in a Secret."""
    return [
        k8s.core.v1.EnvVarArgs(
            name=variable,
            value_from=k8s.core.v1.EnvVarSourceArgs(
                secret_key_ref=k8s.core.v1.SecretKeySelectorArgs(name=name_of(secret.metadata), key=variable)
            ),
        )
        for variable in variables
    ]
