"""The built-in node: a complete Kubernetes on this machine, in separate namespaces, without a container engine.

Its state is in one folder of the checkout. From that folder, the next start finds and removes what a killed node left
behind. etcd's data, images and volumes are kept until `remove`.
"""

import json
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

from tools.cluster import addons, certificates, components, network, preflight, processes, supervisor
from tools.cluster.build import programs
from tools.cluster.components import NODE_NAME, Node
from tools.cluster.kubectl import Kubectl
from tools.cluster.paths import CHECKOUT, KUBECONFIG, LOGS, STATE
from tools.cluster.processes import Process
from tools.errors import UserError

RECORD = STATE / "supervisor.json"
KUBECTL = STATE / "kubectl"
READY_TIMEOUT = 180.0


def kubectl() -> Kubectl:
    """Return the kubectl of the node's version."""
    return Kubectl(KUBECTL, KUBECONFIG)


def exists() -> bool:
    """Return whether the state folder records a node, running or not."""
    return network.recorded_link(STATE) is not None


def is_up() -> bool:
    """Return whether the node runs and is usable. Send nothing to its address while its link is missing."""
    link = network.recorded_link(STATE)
    process = processes.recorded(RECORD)
    if link is None or process is None or not process.alive or not network.exists(link):
        return False
    return kubectl().answers() and _is_ready() and _has_default_account() and _resolves()


def start() -> None:
    """Remove a dead node, then start the node's processes. Raise UserError if that fails."""
    _adopt_or_forget_state()
    clear()
    node = Node(link=network.link_of(CHECKOUT), state=STATE, programs=programs())
    for folder in (LOGS, STATE / "volumes"):
        folder.mkdir(parents=True, exist_ok=True)
    node.link.save(STATE)
    network.create(node.link)
    _write_identities(node)
    components.write_configuration(node)
    (STATE / supervisor.COMMANDS).write_text(json.dumps(components.commands(node)))
    KUBECTL.unlink(missing_ok=True)
    KUBECTL.symlink_to(node.programs["kubectl"])
    _start_supervisor(node)


def wait_until_usable(load_images: Callable[[], None]) -> None:
    """Wait for the control plane, apply the add-ons, and wait until pods can run and resolve names.

    After a restart, the API server has old data about the node until the kubelet reports: wait for that, too.
    Raise UserError, with the end of the relevant log, if a condition is not met within READY_TIMEOUT seconds.
    """
    control = kubectl()
    _wait("the API server to be ready", control.answers, "kube-apiserver")
    load_images()
    link = network.recorded_link(STATE)
    if link is None:
        raise UserError("the cluster's state folder was deleted: run `make cluster` again.")
    control.run("apply", "--server-side", "--filename=-", stdin=addons.manifest(link))
    _wait("the node to be Ready", _is_ready, "kubelet")
    _wait("the kubelet to report its pods", _pods_are_current, "kubelet")
    _wait("the default service account", _has_default_account, "kube-controller-manager")
    _wait("CoreDNS to answer", _resolves, "coredns")


def clear() -> None:
    """Kill the node if it runs, and remove what it leaves on the machine: link, namespace, control groups."""
    parent = processes.recorded(RECORD)
    for process in (parent, _first_process(parent)):
        if process is not None:
            process.kill()
    link = network.recorded_link(STATE)
    if link is not None:
        network.remove(link)
    _remove_control_groups()
    RECORD.unlink(missing_ok=True)


def remove() -> None:
    """Kill the node and delete all its state, including volumes."""
    if STATE.exists():
        preflight.require_root()
        clear()
        shutil.rmtree(STATE)
    KUBECONFIG.unlink(missing_ok=True)


def network_prefix() -> list[str]:
    """Return the prefix of a command that runs inside the node's network, where it reaches pods and Services.

    Raise UserError if there is no node.
    """
    link = network.recorded_link(STATE)
    if link is None or not link.path.exists():
        raise UserError("there is no local node: run `make cluster` first.")
    return ["nsenter", f"--net={link.path}"]


def inside(*command: str) -> str:
    """Run a command with the node's mounts and network, where containerd's socket is. Return its output.

    Raise UserError if the node does not run, or if the command fails.
    """
    process = _first_process(processes.recorded(RECORD))
    if process is None:
        raise UserError("the local node does not run: run `make cluster` first.")
    target = f"--target={process.pid}"
    entered = ["nsenter", target, "--mount", "--net", "--pid", *command]
    result = subprocess.run(entered, check=False, capture_output=True, text=True)
    if result.returncode != 0:
        raise UserError(f"`{' '.join(command)}` failed in the node: {result.stderr.strip()}")
    return result.stdout


def _adopt_or_forget_state() -> None:
    # The addresses are derived from the checkout's path and are in the certificates: a moved checkout gets a new node.
    recorded = network.recorded_link(STATE)
    if recorded is not None and recorded != network.link_of(CHECKOUT):
        remove()


def _write_identities(node: Node) -> None:
    """Issue all certificates once. A restarted node keeps them, so that its clients stay valid."""
    node.config.mkdir(parents=True, exist_ok=True)
    if not KUBECONFIG.exists() or not node.pki.exists():
        node.pki.mkdir(exist_ok=True, mode=0o700)
        authority = certificates.Authority()
        (node.pki / "ca.crt").write_bytes(authority.certificate)
        certificates.write_key_pair(node.pki, "service-account")
        names = ("kubernetes", "kubernetes.default", "kubernetes.default.svc", network.API_SERVICE, node.link.node)
        certificates.write(authority.issue("kube-apiserver", hosts=names), node.pki, "apiserver")
        kubelet = authority.issue(f"system:node:{NODE_NAME}", hosts=(NODE_NAME, node.link.node))
        certificates.write(kubelet, node.pki, "kubelet-server")
        certificates.write(authority.issue("apiserver-kubelet"), node.pki, "apiserver-kubelet")
        for name, (user, group) in addons.users().items():
            path = KUBECONFIG if name == "admin" else node.config / f"{name}.kubeconfig"
            identity = authority.issue(user, group)
            certificates.write_kubeconfig(path, server=node.server, authority=authority.certificate, identity=identity)


def _start_supervisor(node: Node) -> None:
    command = [
        *network_prefix(),
        *("unshare", "--mount", "--pid", "--fork", "--mount-proc", "--kill-child"),
        *(sys.executable, "-m", "tools.cluster.supervisor", str(node.state)),
    ]
    with (LOGS / "supervisor.log").open("ab") as log:
        parent = subprocess.Popen(
            command, cwd=CHECKOUT, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
        )
    process = processes.identify(parent.pid)
    if process is not None:
        process.save(RECORD)


def _first_process(parent: Process | None) -> Process | None:
    """Return the first process of the node's namespaces. It dies with its parent `unshare`, which the record names."""
    child = processes.only_child(parent.pid) if parent is not None and parent.alive else None
    return None if child is None else processes.identify(child)


def _remove_control_groups() -> None:
    """Remove the empty control groups of those containers that are in this node's containerd data."""
    known = STATE / "containerd" / "io.containerd.grpc.v1.cri"
    ids = {folder.name for kind in ("containers", "sandboxes") for folder in known.glob(f"{kind}/*")}
    for parent in (Path("/sys/fs/cgroup/k8s.io"), *Path("/sys/fs/cgroup").glob("*/k8s.io")):
        for group in (parent / identifier for identifier in ids):
            if group.is_dir():
                group.rmdir()


def _is_ready() -> bool:
    condition = '.status.conditions[?(@.type=="Ready")]'
    jsonpath = f"--output=jsonpath={{{condition}.status}} {{{condition}.lastHeartbeatTime}}"
    status, _, heartbeat = kubectl().run("get", "node", NODE_NAME, jsonpath, check=False).stdout.partition(" ")
    return status == "True" and heartbeat >= _started()


def _pods_are_current() -> bool:
    """Return whether no reported container started before the node itself."""
    jsonpath = "--output=jsonpath={.items[*].status.containerStatuses[*].state.running.startedAt}"
    result = kubectl().run("get", "pods", "--all-namespaces", jsonpath, check=False)
    return result.returncode == 0 and all(moment >= _started() for moment in result.stdout.split())


def _started() -> str:
    """Return the node's start time in the format of Kubernetes, so that the two compare as text."""
    return datetime.fromtimestamp(RECORD.stat().st_mtime, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _has_default_account() -> bool:
    return kubectl().run("get", "serviceaccount", "default", check=False).returncode == 0


def _resolves() -> bool:
    """Return whether the DNS Service's address resolves the API server's Service, as a pod would resolve it."""
    name = f"kubernetes.default.svc.{components.DNS_DOMAIN}"
    command = [*network_prefix(), sys.executable, "-m", "tools.cluster.dns", network.DNS_SERVICE, name]
    answer = subprocess.run(command, cwd=CHECKOUT, check=False, capture_output=True, text=True)
    return answer.stdout.strip() == network.API_SERVICE


def _wait(what: str, condition: Callable[[], bool], log: str) -> None:
    deadline = time.monotonic() + READY_TIMEOUT
    while not condition():
        if time.monotonic() > deadline:
            raise UserError(f"waited {READY_TIMEOUT:.0f} s for {what}; {LOGS}/{log}.log ends with:\n{_tail(log)}")
        time.sleep(0.25)


def _tail(log: str) -> str:
    return "\n".join((LOGS / f"{log}.log").read_text(errors="replace").splitlines()[-15:])
