"""A real node of our own: what its pods can rely on, and that neither SIGKILL nor `down` leaves anything behind.

The node belongs to a second checkout (a copy of tools/), so it runs beside the one of `make cluster` without affecting
it. The toy pod uses the stand-in for PostgreSQL's image, which contains Python.
"""

import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.absence import no_cluster
from tools.cluster import build, network, preflight
from tools.cluster.kubectl import Kubectl
from tools.cluster.local import POSTGRES
from tools.cluster.network import Link
from tools.cluster.paths import CHECKOUT
from tools.errors import UserError

NAMESPACE = "toy"
SCRIPT = "id -u >> /data/starts && cd /data && exec python3 -m http.server 8000"
READ = "import sys, urllib.request; sys.stdout.write(urllib.request.urlopen(sys.argv[1], timeout=10).read().decode())"
RESTRICTED = {"allowPrivilegeEscalation": False, "readOnlyRootFilesystem": True, "capabilities": {"drop": ["ALL"]}}


class Checkout:
    """A copy of the tools in its own folder, and its node."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        shutil.copytree(CHECKOUT / "tools", folder / "tools", ignore=shutil.ignore_patterns("__pycache__"))

    @property
    def kubectl(self) -> Kubectl:
        return Kubectl(self.folder / ".local" / "cluster" / "kubectl", self.folder / ".local" / "kubeconfig")

    @property
    def link(self) -> Link:
        return network.link_of(self.folder)

    def run(self, *words: str) -> str:
        """Run Python in the checkout with these arguments, and return its output."""
        command = [sys.executable, *words]
        result = subprocess.run(command, cwd=self.folder, check=False, capture_output=True, text=True, timeout=400)
        assert result.returncode == 0, result.stdout + result.stderr
        return result.stdout

    def cluster(self, action: str) -> str:
        return self.run("-m", "tools.cluster", action)

    def processes(self) -> list[int]:
        """Return the processes of the node, without those in pods, which have their own networks."""
        found = subprocess.run(
            ["ip", "netns", "pids", self.link.namespace], check=False, capture_output=True, text=True
        )
        return [int(pid) for pid in found.stdout.split()]

    def leftovers(self) -> list[str]:
        """Return the node's processes, mounts, links, namespaces and routes that still exist on this machine."""
        commands = {line for pid in Path("/proc").glob("[0-9]*") if str(self.folder) in (line := _command_line(pid))}
        mounts = [line for line in Path("/proc/mounts").read_text().splitlines() if str(self.folder) in line]
        links = [self.link.interface] if network.exists(self.link) else []
        namespaces = [str(self.link.path)] if self.link.path.exists() else []
        routes = subprocess.run(["ip", "route"], check=True, capture_output=True, text=True).stdout.splitlines()
        return [*commands, *mounts, *links, *namespaces, *(line for line in routes if self.link.subnet in line)]


def _command_line(process: Path) -> str:
    with contextlib.suppress(OSError):
        return (process / "cmdline").read_text().replace("\0", " ")
    return ""


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Checkout]:
    try:
        preflight.check()
    except UserError as error:
        no_cluster(str(error))
    if not build.is_built():
        no_cluster("Kubernetes is not built yet: run `make cluster`")
    checkout = Checkout(tmp_path_factory.mktemp("checkout").resolve() / "copy")
    try:
        yield checkout
    finally:
        checkout.cluster("down")


@pytest.fixture
def toy(node: Checkout) -> Checkout:
    """The node with one running pod, which serves its volume over HTTP."""
    node.cluster("up")
    node.kubectl.run("apply", "--filename=-", stdin=json.dumps({"apiVersion": "v1", "kind": "List", "items": _toy()}))
    node.kubectl.run("rollout", "status", "deployment/toy", f"--namespace={NAMESPACE}", "--timeout=120s")
    return node


def _toy() -> list[dict[str, object]]:
    labels = {"app": "toy"}
    pod = {
        "automountServiceAccountToken": False,
        "terminationGracePeriodSeconds": 0,
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": 70,
            "runAsGroup": 70,
            "fsGroup": 70,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "containers": [
            {
                "name": "toy",
                "image": POSTGRES.removeprefix("docker.io/library/"),
                "imagePullPolicy": "IfNotPresent",
                "command": ["bash", "-c", SCRIPT],
                "securityContext": RESTRICTED,
                "readinessProbe": {"httpGet": {"path": "/starts", "port": 8000}, "periodSeconds": 1},
                "volumeMounts": [{"name": "data", "mountPath": "/data"}],
            }
        ],
        "volumes": [{"name": "data", "persistentVolumeClaim": {"claimName": "data"}}],
    }
    here = {"namespace": NAMESPACE}
    return [
        {
            "apiVersion": "v1",
            "kind": "Namespace",
            "metadata": {"name": NAMESPACE, "labels": {"pod-security.kubernetes.io/enforce": "restricted"}},
        },
        {
            "apiVersion": "v1",
            "kind": "PersistentVolumeClaim",
            "metadata": {"name": "data", **here},
            "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Mi"}}},
        },
        {
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": {"name": "toy", **here},
            "spec": {
                "strategy": {"type": "Recreate"},
                "selector": {"matchLabels": labels},
                "template": {"metadata": {"labels": labels}, "spec": pod},
            },
        },
        {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {"name": "toy", **here},
            "spec": {"selector": labels, "ports": [{"port": 80, "targetPort": 8000}]},
        },
    ]


def _starts(node: Checkout) -> int:
    """Return how often the pod has started on its volume, each time as user 70; 0 while it does not run."""
    words = ("exec", f"--namespace={NAMESPACE}", "deployment/toy", "--", "cat", "/data/starts")
    written = node.kubectl.run(*words, check=False).stdout.split()
    assert set(written) <= {"70"}
    return len(written)


def _wait_for_starts(node: Checkout, number: int) -> None:
    deadline = time.monotonic() + 120
    while _starts(node) < number:
        described = node.kubectl.run("describe", "pods", f"--namespace={NAMESPACE}").stdout
        assert time.monotonic() < deadline, described
        time.sleep(0.2)


def _eventually(node: Checkout, command: list[str]) -> None:
    """Wait until a command reads the pod's file: kube-proxy adds its rules after the pod is ready."""
    deadline = time.monotonic() + 60
    while True:
        result = subprocess.run(command, check=False, capture_output=True, text=True)
        if result.stdout.startswith("70\n"):
            return
        described = node.kubectl.run("describe", "endpointslices", f"--namespace={NAMESPACE}").stdout
        assert time.monotonic() < deadline, result.stderr + described
        time.sleep(0.2)


def test_an_unrestricted_pod_is_rejected(toy: Checkout) -> None:
    refused = toy.kubectl.run("run", "bad", f"--namespace={NAMESPACE}", f"--image={POSTGRES}", check=False)

    assert refused.returncode != 0
    assert 'violates PodSecurity "restricted:latest"' in refused.stderr


def test_a_pod_reaches_a_service_by_name(toy: Checkout) -> None:
    for name in ("toy", f"toy.{NAMESPACE}.svc.cluster.local"):
        words = ("exec", f"--namespace={NAMESPACE}", "deployment/toy", "--", "python3", "-c", READ)

        _eventually(toy, toy.kubectl.command(*words, f"http://{name}/starts"))


def test_a_process_in_the_nodes_network_reaches_a_service(toy: Checkout) -> None:
    address = toy.kubectl.run(
        "get", "service", "toy", f"--namespace={NAMESPACE}", "--output=jsonpath={.spec.clusterIP}"
    ).stdout
    command = ["nsenter", f"--net={toy.link.path}", sys.executable, "-c", READ, f"http://{address}/starts"]

    _eventually(toy, command)


def test_the_host_reaches_a_service_through_a_port_forward(toy: Checkout) -> None:
    command = toy.kubectl.command("port-forward", "service/toy", ":80", f"--namespace={NAMESPACE}")
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as forward:
        assert forward.stdout is not None
        found = re.search(r"127\.0\.0\.1:(\d+)", forward.stdout.readline())
        try:
            assert found is not None
            with urllib.request.urlopen(f"http://127.0.0.1:{found[1]}/starts", timeout=10) as answer:
                assert answer.read().startswith(b"70\n")
        finally:
            forward.terminate()


def test_a_replaced_pod_has_the_same_volume(toy: Checkout) -> None:
    before = _starts(toy)

    toy.kubectl.run("delete", "pod", "--selector=app=toy", f"--namespace={NAMESPACE}", "--wait")

    _wait_for_starts(toy, before + 1)


def test_up_keeps_a_node_that_answers(toy: Checkout) -> None:
    record = toy.folder / ".local" / "cluster" / "supervisor.json"
    before = record.read_text()

    assert "up already" in toy.cluster("up")
    assert record.read_text() == before
    assert json.loads(before)["pid"] in toy.processes()


@pytest.mark.parametrize("victims", ["all", "first", "API server", "containerd", "link"])
def test_up_restores_a_killed_node_with_its_data(toy: Checkout, victims: str) -> None:
    before = _starts(toy)
    _kill(toy, victims)

    toy.cluster("up")

    _wait_for_starts(toy, before)
    assert network.exists(toy.link)


def _kill(node: Checkout, victims: str) -> None:
    if victims == "link":
        subprocess.run(["ip", "link", "delete", node.link.interface], check=True)
        return
    words = {"all": "", "first": "tools.cluster.supervisor", "API server": "kube-apiserver", "containerd": "containerd"}
    chosen = [pid for pid in node.processes() if words[victims] in _command_line(Path("/proc", str(pid)))]
    assert chosen
    for pid in chosen:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def test_down_leaves_nothing_and_can_be_repeated(toy: Checkout) -> None:
    assert toy.leftovers()

    for _ in range(2):
        toy.cluster("down")

        assert toy.leftovers() == []
        assert not (toy.folder / ".local" / "cluster").exists()
        assert not (toy.folder / ".local" / "kubeconfig").exists()
