"""One bank on the cluster, and what tests do with it: apply the program, inspect it, break something."""

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
WITHOUT_EXPIRY = "app.kubernetes.io/component!=expiry"  # the CronJob's pods start and end on a schedule
SMALL = {"replicas": 1, "cpu": "50m", "rateLimits": "off"}  # these tests send payments continuously
SECRETS = ("owner", "application", "backup", "metrics", "secretKey", "admin")
PATIENCE = 240  # seconds

Measure = Callable[[str, object], None]
"""Records a named value for the summary at the end of the run."""


def other_name(image: str) -> str:
    """Return another reference of the same image; a node knows it by its short and its full name."""
    registry = "docker.io/library/"
    return image.removeprefix(registry) if image.startswith(registry) else registry + image


def is_ready(pod: Object) -> bool:
    conditions = {it["type"]: it["status"] for it in pod.get("status", {}).get("conditions", [])}
    return conditions.get("Ready") == "True"


@dataclass
class Deployment:
    """A stack of the program in its own namespace, applied without the engine."""

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
        """Change the configuration, apply the program, and return the outputs with secrets in plain text."""
        self.outputs = applier.apply(self.configured(changes), self.image, self.state, self.kubeconfig)
        return self.outputs

    def configured(self, changes: dict[str, object]) -> dict[str, Any]:
        """Change the configuration permanently, and return all of it."""
        self.config |= changes
        return {
            "namespace": self.namespace,
            "protectData": False,
            "postgres": {"storage": "1Gi", "memory": "512Mi", "cpu": "50m"},
            "application": SMALL,
        } | self.config

    def apply_in_background(self) -> threading.Thread:
        """Apply the unchanged configuration in a thread; a failure shows in the next `apply`."""

        def attempt() -> None:
            with suppress(applier.ApplyError):
                self.apply()

        thread = threading.Thread(target=attempt)
        thread.start()
        return thread

    def destroy(self, *, keep_data: bool = False) -> None:
        applier.destroy(self.state, self.kubeconfig, keep=("Namespace", "PersistentVolumeClaim") if keep_data else ())

    def clear(self) -> None:
        """Delete what this and earlier runs left."""
        self.kubectl.delete("namespace", "", self.namespace)
        self.state.unlink(missing_ok=True)

    def abandon(self) -> None:
        """Let Kubernetes delete the namespace, and do not wait: half of the longest grace period passes meanwhile."""
        self.kubectl.run("delete", "namespace", self.namespace, "--ignore-not-found", "--wait=false")

    def pods(self, selector: str) -> list[Object]:
        return self.kubectl.list("pods", self.namespace, selector)

    def staying(self, selector: str) -> dict[str, Object]:
        """Return the pods that are not being deleted, by name."""
        return {
            pod["metadata"]["name"]: pod for pod in self.pods(selector) if "deletionTimestamp" not in pod["metadata"]
        }

    def pod(self, selector: str) -> Object:
        """Return the only pod that is not being deleted."""
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
        """Delete a pod without waiting for its end."""
        self.kubectl.run("delete", "pod", pod["metadata"]["name"], f"--namespace={self.namespace}", "--wait=false")

    def inside(self, target: str, *command: str, stdin: str | None = None, container: str = "") -> str:
        """Run a command in `deployment/…` or `pod/…` and return its output. Raise KubectlError if it fails."""
        where = [f"--namespace={self.namespace}", f"--container={container}", target]
        return self.kubectl.run("exec", *where, "-i", "--", *command, stdin=stdin)

    def as_superuser(self, statement: str, target: str = "deployment/postgres-deployment") -> str:
        """Run a statement in one pod as the superuser, who logs in by peer authentication; return the rows as text."""
        words = ["psql", "--host=/var/run/postgresql", "--username=postgres", "--dbname=neobank", "--no-align"]
        return self.inside(target, *words, "--tuples-only", f"--command={statement}").strip()

    def log_in(self, url: str) -> str:
        """Log in with a database URL from a pod of the application; return the user. Raise KubectlError if refused."""
        program = "import sys, psycopg2; print(psycopg2.connect(sys.stdin.read()).info.user)"
        return self.inside("deployment/neobank-deployment", "python3", "-c", program, stdin=url).strip()

    def assert_books_agree(self) -> None:
        """Run `neobank verify` in a pod of the application. Raise KubectlError if the books are wrong."""
        assert "All balances agree" in self.inside("deployment/neobank-deployment", "neobank", "verify")

    @contextmanager
    def paying(self, name: str) -> Iterator[Report]:
        """Let players pay through the Service, from inside the node's network; the report is complete at the end.

        They start when no pod of an earlier change is left, because such a pod may have another key for sessions. At
        the end, assert that the ledger has each confirmed payment once, and no other payment of these players.
        """
        self.until(
            lambda: len(self.pods(APPLICATION)) == len(self.staying(APPLICATION)), "the end of the replaced pods"
        )
        service = self.kubectl.get("service", self.namespace, "neobank-service")
        assert service is not None
        program = [sys.executable, "-m", "tests.cluster.payers", f"http://{service['spec']['clusterIP']}", name]
        command, report = [*local.network_prefix(), *program], Report()
        with subprocess.Popen(
            command, cwd=CHECKOUT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        ) as payers:
            assert payers.stdout is not None
            first = payers.stdout.readline()
            try:
                yield report
            finally:
                output, _ = payers.communicate()  # closes their standard input
        assert (first, payers.returncode) == ("paying\n", 0), (
            f"the payers printed {first!r} and ended with {payers.returncode}"
        )
        vars(report).update(json.loads(output))
        assert report.wrong == [], report.wrong
        assert self._posted(name) == {key: (1, transaction) for key, transaction in report.confirmed.items()}

    def _posted(self, name: str) -> dict[str, tuple[int, int]]:
        """Return (number, id) of the transfers in the ledger, by the memos of these players."""
        query = "SELECT memo, count(*), min(id) FROM transfers WHERE memo LIKE '{} %' GROUP BY memo"
        rows = [row.split("|") for row in self.as_superuser(query.format(name)).splitlines()]
        return {memo: (int(count), int(transaction)) for memo, count, transaction in rows}

    @contextmanager
    def reached(self, target: str = "service/neobank-service", port: int = 80) -> Iterator[Bank]:
        """Forward a free loopback port to the bank."""
        command = ["port-forward", f"--namespace={self.namespace}", "--address=127.0.0.1", target, f":{port}"]
        forward = subprocess.Popen(self.kubectl.command(*command), stdout=subprocess.PIPE, text=True)
        try:
            assert forward.stdout is not None
            line = forward.stdout.readline()  # Forwarding from 127.0.0.1:40123 -> 5000
            assert line.startswith("Forwarding from"), line
            yield Bank("http://" + line.split()[2])
        finally:
            forward.terminate()
            forward.communicate()

    def processes_of(self, pod: Object, program: str) -> list[int]:
        """Return the ids of a pod's processes that run a program; the node is this machine."""
        live = self.kubectl.get("pod", self.namespace, pod["metadata"]["name"]) or pod
        statuses = [*live["status"].get("initContainerStatuses", []), *live["status"].get("containerStatuses", [])]
        containers = {status["containerID"].rpartition("/")[2] for status in statuses if status.get("containerID")}
        found = []
        for folder in Path("/proc").glob("[0-9]*"):
            try:
                groups, words = (folder / "cgroup").read_text(), (folder / "cmdline").read_bytes().split(b"\0")
            except OSError:
                continue
            runs = Path(os.fsdecode(words[0].split(b":")[0])).name == program  # `postgres: checkpointer` counts, too
            if runs and any(container in groups for container in containers):
                found.append(int(folder.name))
        return sorted(found)

    def kill(self, pod: Object, program: str) -> int:
        """Send SIGKILL to a pod's processes that run a program; return how many there were.

        When the first process of a container ends, the kernel ends the others, perhaps before they receive the signal.
        """
        processes = self.processes_of(pod, program)
        for process in processes:
            with suppress(ProcessLookupError):
                os.kill(process, signal.SIGKILL)
        return len(processes)

    def until(self, condition: Callable[[], bool], what: str) -> None:
        """Wait for a condition. Raise KubectlError with the namespace's events and logs if it does not become true."""
        self.kubectl.until(condition, what, self.namespace, PATIENCE)

    def described(self) -> dict[str, str]:
        """Return uid, generation and data of each object: they change with a replacement or a new description."""
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
    """Apply a bank with changes to an empty namespace, and start its removal at the end."""
    bank.clear()
    bank.apply(**changes)
    yield bank
    bank.abandon()
