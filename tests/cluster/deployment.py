"""One bank on the cluster, as its tests handle it: apply the program, look inside, break something."""

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from tests.bank import Bank
from tests.cluster import applier
from tests.cluster.kubectl import Kubectl, Object
from tests.cluster.payers import Report
from tools.cluster import local
from tools.cluster.paths import CHECKOUT

DATABASE = "app.kubernetes.io/component=database"
APPLICATION = "app.kubernetes.io/component=application"
MIGRATION = "app.kubernetes.io/component=migration"
FIGURES = "app.kubernetes.io/component=figures"
WITHOUT_EXPIRY = "app.kubernetes.io/component!=expiry"  # the CronJob's come and go by the clock
SMALL = {"replicas": 1, "cpu": "50m", "rateLimits": "off"}  # the crowd of these tests pays all the time
SECRETS = ("owner", "application", "backup", "metrics", "secretKey", "admin")
PATIENCE = 240  # seconds

Measure = Callable[[str, object], None]
"""Notes a value for the summary at the end of the run."""


def other_name(image: str) -> str:
    """Give the same image another reference: a node knows it by a longer one, too."""
    registry = "docker.io/library/"
    return image.removeprefix(registry) if image.startswith(registry) else registry + image


def is_ready(pod: Object) -> bool:
    conditions = {it["type"]: it["status"] for it in pod.get("status", {}).get("conditions", [])}
    return conditions.get("Ready") == "True"


@dataclass
class Deployment:
    """A stack of the program in a namespace of its own, applied without the engine."""

    namespace: str
    image: str
    kubeconfig: Path
    folder: Path
    config: dict[str, Any] = field(default_factory=dict)
    outputs: dict[str, Any] = field(default_factory=dict)

    @property
    def kubectl(self) -> Kubectl:
        return Kubectl(self.kubeconfig)

    @property
    def state(self) -> Path:
        return self.folder / "state.json"

    def apply(self, **changes: object) -> dict[str, Any]:
        """Apply the program, its configuration changed as said from here on; gives the outputs, secrets open."""
        self.outputs = applier.apply(self.configured(changes), self.image, self.state, self.kubeconfig)
        return self.outputs

    def configured(self, changes: dict[str, object]) -> dict[str, Any]:
        """Change the configuration from here on, and give all of it."""
        self.config |= changes
        return {
            "namespace": self.namespace,
            "protectData": False,
            "postgres": {"storage": "1Gi", "memory": "512Mi", "cpu": "50m"},
            "application": SMALL,
        } | self.config

    def apply_in_background(self) -> threading.Thread:
        """Apply the program as it was last; whether that worked is for the next application to say."""

        def attempt() -> None:
            with suppress(applier.ApplyError):
                self.apply()

        thread = threading.Thread(target=attempt)
        thread.start()
        return thread

    def destroy(self, *, keep_data: bool = False) -> None:
        applier.destroy(self.state, self.kubeconfig, keep=("Namespace", "PersistentVolumeClaim") if keep_data else ())

    def clear(self) -> None:
        """Remove whatever is left of this and of earlier runs."""
        self.kubectl.delete("namespace", "", self.namespace)
        self.state.unlink(missing_ok=True)

    def pods(self, selector: str) -> list[Object]:
        return self.kubectl.list("pods", self.namespace, selector)

    def staying(self, selector: str) -> dict[str, Object]:
        """Give the pods that are not on their way out, by name."""
        return {
            pod["metadata"]["name"]: pod for pod in self.pods(selector) if "deletionTimestamp" not in pod["metadata"]
        }

    def pod(self, selector: str) -> Object:
        """Give the only pod that is not on its way out."""
        found = self.staying(selector)
        assert len(found) == 1, list(found)
        return found.popitem()[1]

    def await_pod(self, selector: str, *, other_than: str = "") -> Object:
        """Wait until there is exactly one pod and it is ready; its uid must differ from `other_than`."""

        def one_is_ready() -> bool:
            ready = [pod for pod in self.pods(selector) if is_ready(pod) and pod["metadata"]["uid"] != other_than]
            return len(ready) == 1 == len(self.pods(selector))

        self.kubectl.until(one_is_ready, f"one ready pod with {selector}", self.namespace, PATIENCE)
        return self.pod(selector)

    def delete_pod(self, pod: Object) -> None:
        """Ask for a pod to be deleted, and do not wait."""
        self.kubectl.run("delete", "pod", pod["metadata"]["name"], f"--namespace={self.namespace}", "--wait=false")

    def inside(self, target: str, *command: str, stdin: str | None = None, container: str = "") -> str:
        """Run a command in a container: `deployment/postgres-deployment`, `pod/…`. Raises KubectlError."""
        where = [f"--namespace={self.namespace}", f"--container={container}", target]
        return self.kubectl.run("exec", *where, "-i", "--", *command, stdin=stdin)

    def as_superuser(self, statement: str, target: str = "deployment/postgres-deployment") -> str:
        """Ask the server of one pod, as the superuser, who gets in by being the server's own user."""
        words = ["psql", "--host=/var/run/postgresql", "--username=postgres", "--dbname=neobank", "--no-align"]
        return self.inside(target, *words, "--tuples-only", f"--command={statement}").strip()

    def log_in(self, url: str) -> str:
        """Try a database URL from a pod of the application; gives who one is then. Raises KubectlError."""
        program = "import sys, psycopg2; print(psycopg2.connect(sys.stdin.read()).info.user)"
        return self.inside("deployment/neobank-deployment", "python3", "-c", program, stdin=url).strip()

    def assert_books_agree(self) -> None:
        """Run `neobank verify` in a pod of the application. Raise KubectlError if the books are wrong."""
        assert "All balances agree" in self.inside("deployment/neobank-deployment", "neobank", "verify")

    @contextmanager
    def paying(self, name: str) -> Iterator[Report]:
        """Let players pay through the Service, from inside the node's network; the report is complete at the end.

        They begin when no pod of an earlier change is left, which may still have another key for its sessions. In the
        end each payment that was confirmed is in the ledger, once, and no other is.
        """
        self.until(
            lambda: len(self.pods(APPLICATION)) == len(self.staying(APPLICATION)), "the pods that were replaced to end"
        )
        service = self.kubectl.get("service", self.namespace, "neobank-service")
        assert service is not None
        program = [sys.executable, "-m", "tests.cluster.payers", f"http://{service['spec']['clusterIP']}", name]
        command, report = [*local.network_prefix(), *program], Report()
        with subprocess.Popen(
            command, cwd=CHECKOUT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        ) as payers:
            assert payers.stdout is not None
            begun = payers.stdout.readline()
            try:
                yield report
            finally:
                said, _ = payers.communicate()  # its input ends
        assert (begun, payers.returncode) == ("paying\n", 0), (
            f"the payers said {begun!r}, and ended with {payers.returncode}"
        )
        vars(report).update(json.loads(said))
        assert report.wrong == [], report.wrong
        assert self._posted(name) == {key: (1, transaction) for key, transaction in report.confirmed.items()}

    def _posted(self, name: str) -> dict[str, tuple[int, int]]:
        """Find how often each memo of these players is in the ledger, and where."""
        ask = "SELECT memo, count(*), min(id) FROM transfers WHERE memo LIKE '{} %' GROUP BY memo"
        rows = [row.split("|") for row in self.as_superuser(ask.format(name)).splitlines()]
        return {memo: (int(count), int(transaction)) for memo, count, transaction in rows}

    @contextmanager
    def reached(self, target: str = "service/neobank-service", port: int = 80) -> Iterator[Bank]:
        """Forward a port of this machine's loopback interface to the bank."""
        command = ["port-forward", f"--namespace={self.namespace}", "--address=127.0.0.1", target, f":{port}"]
        forward = subprocess.Popen(self.kubectl.command(*command), stdout=subprocess.PIPE, text=True)
        try:
            assert forward.stdout is not None
            said = forward.stdout.readline()  # Forwarding from 127.0.0.1:40123 -> 5000
            assert said.startswith("Forwarding from"), said
            yield Bank("http://" + said.split()[2])
        finally:
            forward.terminate()
            forward.communicate()

    def processes_of(self, pod: Object, program: str) -> list[int]:
        """Find the processes of one pod, on this very machine, that run a program."""
        live = self.kubectl.get("pod", self.namespace, pod["metadata"]["name"]) or pod
        statuses = [*live["status"].get("initContainerStatuses", []), *live["status"].get("containerStatuses", [])]
        containers = {status["containerID"].rpartition("/")[2] for status in statuses if status.get("containerID")}
        found = []
        for folder in Path("/proc").glob("[0-9]*"):
            try:
                groups, words = (folder / "cgroup").read_text(), (folder / "cmdline").read_bytes().split(b"\0")
            except OSError:
                continue
            runs = Path(os.fsdecode(words[0].split(b":")[0])).name == program  # `postgres: checkpointer` is one, too
            if runs and any(container in groups for container in containers):
                found.append(int(folder.name))
        return sorted(found)

    def kill(self, pod: Object, program: str) -> int:
        """Kill a program of a pod, and all its children there, without a warning; gives how many processes that was.

        The first process of a container takes all others along, before they can be killed one by one.
        """
        processes = self.processes_of(pod, program)
        for process in processes:
            with suppress(ProcessLookupError):
                os.kill(process, signal.SIGKILL)
        return len(processes)

    def until(self, condition: Callable[[], bool], what: str) -> None:
        """Wait for a condition. Raises KubectlError with the namespace's events and logs."""
        self.kubectl.until(condition, what, self.namespace, PATIENCE)

    def described(self) -> dict[str, str]:
        """Give each object's uid and generation: what changes when an object is replaced or its description changes."""
        kinds = "deployment,job,service,configmap,secret,serviceaccount,persistentvolumeclaim,pod"
        which = [kinds, f"--namespace={self.namespace}", f"--selector={WITHOUT_EXPIRY}", "--output=json"]
        items = json.loads(self.kubectl.run("get", *which))["items"]
        return {
            f"{item['kind']} {item['metadata']['name']}": (
                f"{item['metadata']['uid']} {item['metadata'].get('generation')} {item.get('data')}"
            )
            for item in items
        }


Some = TypeVar("Some", bound=Deployment)


@contextmanager
def standing(bank: Some, **changes: object) -> Iterator[Some]:
    """Apply a bank with changes to an empty namespace, and remove it at the end."""
    bank.clear()
    bank.apply(**changes)
    yield bank
    bank.clear()
