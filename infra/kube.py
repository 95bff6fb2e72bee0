"""What every object and every pod here has in common: labels, names, the restricted level, probes. Pure functions."""

import hashlib
import json
from collections.abc import Mapping, Sequence

import pulumi
import pulumi_kubernetes as k8s

PATCH_FORCE = {"pulumi.com/patchForce": "true"}
"""For what others change too, so that taking a field back from them is no conflict."""

SKIP_AWAIT = {"pulumi.com/skipAwait": "true"}
"""For Services: their own await costs 10 s, and the Deployment behind one already proves that its pods are ready."""

MINUTES = pulumi.CustomTimeouts(create="10m", update="10m", delete="5m")
"""A Deployment that makes no progress only warns; this is when the engine gives it up."""

JOB_TIMEOUT = pulumi.CustomTimeouts(create="10m")
JOB_DEADLINE_SECONDS = 540
"""Less than the create timeout, so that a Job itself says that it failed."""


DRAIN_SECONDS = 5


def selector(component: str) -> dict[str, str]:
    """Give the labels by which a workload finds its pods; they may never change."""
    return {"app.kubernetes.io/name": "neobank", "app.kubernetes.io/component": component}


def metadata(
    namespace: pulumi.Input[str],
    component: str,
    name: str | None = None,
    annotations: Mapping[str, pulumi.Input[str]] | None = None,
) -> k8s.meta.v1.ObjectMetaArgs:
    """Describe an object; without a name the engine makes one up, and may replace the object beside itself."""
    labels = {**selector(component), "app.kubernetes.io/managed-by": "pulumi"}
    return k8s.meta.v1.ObjectMetaArgs(name=name, namespace=namespace, labels=labels, annotations=annotations)


def name_of(metadata_output: pulumi.Output[k8s.meta.v1.outputs.ObjectMeta]) -> pulumi.Output[str]:
    """Give an object's name, so that whoever uses it comes after it."""
    return metadata_output.apply(lambda made: made.name or "")


def service_hosts(service: str, namespace: str) -> list[str]:
    """Give each name by which a pod may ask for a Service."""
    return [service, *(f"{service}.{namespace}{end}" for end in ("", ".svc", ".svc.cluster.local"))]


def checksum(*inputs: pulumi.Input[str]) -> dict[str, pulumi.Output[str]]:
    """Make the annotation that rolls a pod when what it reads changes.

    It is no secret: nobody gets back from SHA-256 to values that hold a random password.
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
    """Make a pod of the restricted level, with an account of its own and no token.

    Without service links: those would set NEOBANK_SERVICE_PORT and the like to addresses.
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
    """Ask for different nodes and zones; where there is only one of them, everything runs there."""
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
    """Restrict a container: no capability, no way to more rights, a root that can't be written."""
    return k8s.core.v1.SecurityContextArgs(
        allow_privilege_escalation=False,
        read_only_root_filesystem=True,
        capabilities=k8s.core.v1.CapabilitiesArgs(drop=["ALL"]),
    )


def resources(cpu: str, cpu_limit: str, memory: str) -> k8s.core.v1.ResourceRequirementsArgs:
    """Set aside CPU and memory; memory is the limit too, so that nobody else's use of it ends the pod."""
    return k8s.core.v1.ResourceRequirementsArgs(
        requests={"cpu": cpu, "memory": memory}, limits={"cpu": cpu_limit, "memory": memory}
    )


def service_account(
    name: str, namespace: pulumi.Input[str], component: str, opts: pulumi.ResourceOptions
) -> k8s.core.v1.ServiceAccount:
    """Make the account of one workload, which never talks to the cluster."""
    return k8s.core.v1.ServiceAccount(
        name, metadata=metadata(namespace, component), automount_service_account_token=False, opts=opts
    )


def disruption_budget(
    name: str, namespace: pulumi.Input[str], component: str, opts: pulumi.ResourceOptions
) -> k8s.policy.v1.PodDisruptionBudget:
    """Let one pod of a component at a time be evicted; one that is not ready counts as gone, and may go."""
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


def one_by_one() -> k8s.apps.v1.DeploymentStrategyArgs:
    """Replace pods one after the other, each by one that is ready."""
    return k8s.apps.v1.DeploymentStrategyArgs(
        type="RollingUpdate", rolling_update=k8s.apps.v1.RollingUpdateDeploymentArgs(max_surge=1, max_unavailable=0)
    )


def scratch(name: str, *, memory: str | None = None) -> k8s.core.v1.VolumeArgs:
    """Make an empty folder that ends with the pod, on the node's disk or, with a size, in the pod's memory."""
    source = k8s.core.v1.EmptyDirVolumeSourceArgs(medium="Memory" if memory else None, size_limit=memory)
    return k8s.core.v1.VolumeArgs(name=name, empty_dir=source)


def mount(name: str, path: str, *, read_only: bool = False) -> k8s.core.v1.VolumeMountArgs:
    """Mount a volume of the pod."""
    return k8s.core.v1.VolumeMountArgs(name=name, mount_path=path, read_only=read_only)


def drain() -> k8s.core.v1.LifecycleArgs:
    """Let a container that ends still accept connections, until every node has stopped sending it new ones."""
    sleep = k8s.core.v1.SleepActionArgs(seconds=DRAIN_SECONDS)
    return k8s.core.v1.LifecycleArgs(pre_stop=k8s.core.v1.LifecycleHandlerArgs(sleep=sleep))


def http_probe(path: str, *, period: int, failures: int) -> k8s.core.v1.ProbeArgs:
    """Ask the port named http every so many seconds; so many failures in a row count."""
    return k8s.core.v1.ProbeArgs(
        http_get=k8s.core.v1.HTTPGetActionArgs(path=path, port="http"),
        period_seconds=period,
        timeout_seconds=5,
        failure_threshold=failures,
    )


def tcp_probe(port: str, *, period: int, failures: int) -> k8s.core.v1.ProbeArgs:
    """Open a connection to a port every so many seconds; so many failures in a row count."""
    return k8s.core.v1.ProbeArgs(
        tcp_socket=k8s.core.v1.TCPSocketActionArgs(port=port),
        period_seconds=period,
        timeout_seconds=5,
        failure_threshold=failures,
    )


def command_probe(command: Sequence[str], *, period: int, failures: int) -> k8s.core.v1.ProbeArgs:
    """Run a command in the container every so many seconds; so many failures in a row count."""
    return k8s.core.v1.ProbeArgs(
        exec_=k8s.core.v1.ExecActionArgs(command=list(command)),
        period_seconds=period,
        timeout_seconds=5,
        failure_threshold=failures,
    )


def from_secret(secret: k8s.core.v1.Secret, *variables: str) -> list[k8s.core.v1.EnvVarArgs]:
    """Set environment variables from the entries of a Secret that have their names."""
    return [
        k8s.core.v1.EnvVarArgs(
            name=variable,
            value_from=k8s.core.v1.EnvVarSourceArgs(
                secret_key_ref=k8s.core.v1.SecretKeySelectorArgs(name=name_of(secret.metadata), key=variable)
            ),
        )
        for variable in variables
    ]
