"""The parts of kubectl that the tests need; each error contains the message of kubectl."""

import json
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tools.cluster import node

Object = dict[str, Any]
_POLL_SECONDS = 0.3


class KubectlError(Exception):
    """kubectl failed, or a condition did not become true in time; the message contains kubectl's output."""


@dataclass(frozen=True)
class Kubectl:
    """One cluster, reached through its kubeconfig."""

    kubeconfig: Path
    context: str = ""

    def command(self, *arguments: str) -> list[str]:
        """Return the command line; the local node has its own kubectl."""
        program = str(node.KUBECTL) if node.KUBECTL.exists() else "kubectl"
        context = [f"--context={self.context}"] if self.context else []
        return [program, f"--kubeconfig={self.kubeconfig}", *context, *arguments]

    def run(self, *arguments: str, stdin: str | None = None, timeout: float = 60) -> str:
        """Run kubectl and return its output. Raise KubectlError if it fails."""
        command = self.command(*arguments)
        try:
            done = subprocess.run(command, input=stdin, capture_output=True, text=True, timeout=timeout, check=False)
        except subprocess.TimeoutExpired:
            raise KubectlError(f"kubectl {' '.join(arguments)}: no answer within {timeout} s") from None
        if done.returncode:
            raise KubectlError(f"kubectl {' '.join(arguments)}: {done.stderr.strip()}")
        return done.stdout

    def get(self, kind: str, namespace: str, name: str) -> Object | None:
        """Return a live object, or None if it does not exist."""
        text = self.run("get", kind, name, *_in(namespace), "--ignore-not-found", "--output=json")
        found: Object | None = json.loads(text) if text else None
        return found

    def list(self, kind: str, namespace: str, selector: str = "") -> list[Object]:
        """Return the live objects of a kind."""
        text = self.run("get", kind, *_in(namespace), f"--selector={selector}", "--output=json")
        items: list[Object] = json.loads(text)["items"]
        return items

    def apply(self, described: Object, manager: str) -> Object:
        """Create or change an object by server-side apply; return the live object."""
        options = ("--server-side", "--force-conflicts", f"--field-manager={manager}", "--output=json", "--filename=-")
        live: Object = json.loads(self.run("apply", *options, stdin=json.dumps(described)))
        return live

    def delete(self, kind: str, namespace: str, name: str, timeout: float = 180) -> None:
        """Delete an object with all that it owns, and wait until it no longer exists."""
        options = ("--ignore-not-found", "--cascade=foreground", f"--timeout={timeout:.0f}s")
        self.run("delete", kind, name, *_in(namespace), *options, timeout=timeout + 10)

    def wait(self, kind: str, namespace: str, name: str, done: Callable[[Object], bool], timeout: float) -> Object:
        """Wait until `done(object)` is true, and return the object. Raise KubectlError as `until` does."""
        found: list[Object] = []

        def is_done() -> bool:
            live = self.get(kind, namespace, name)
            if live is None:
                raise KubectlError(f"{kind} {name} no longer exists")
            found[:] = [live]
            return done(live)

        self.until(is_done, f"{kind} {name}", namespace, timeout)
        return found[0]

    def until(self, condition: Callable[[], bool], what: str, namespace: str, timeout: float) -> None:
        """Wait for a condition. Raise KubectlError with the namespace's events and logs if it is not true in time."""
        deadline = time.monotonic() + timeout
        while not condition():
            if time.monotonic() > deadline:
                raise KubectlError(f"waited {timeout} s for {what}\n{self.story(namespace)}")
            time.sleep(_POLL_SECONDS)

    def story(self, namespace: str) -> str:
        """Return a namespace's pods, events, and the last log lines of each pod."""
        parts = [
            self.run("get", "pods", *_in(namespace), "--output=wide"),
            self.run("get", "events", *_in(namespace), "--sort-by=.lastTimestamp"),
        ]
        for pod in self.list("pods", namespace):
            name = pod["metadata"]["name"]
            try:
                log = self.run("logs", name, *_in(namespace), "--all-containers", "--prefix", "--tail=20")
            except KubectlError as error:
                log = str(error)
            parts.append(f"{name}:\n{log}")
        return "\n".join(parts)


def _in(namespace: str) -> list[str]:
    return [f"--namespace={namespace}"] if namespace else []
