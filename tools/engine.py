"""The Pulumi engine on one stack: run its commands, and read the stack's state and plan."""

import json
import socket
import subprocess
import sys
import tempfile
import urllib.parse
import urllib.request
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from tools.errors import UserError

NAMESPACE: Final = "kubernetes:core/v1:Namespace"
VOLUME: Final = "kubernetes:core/v1:PersistentVolumeClaim"
STASH: Final = "pulumi:index:Stash"

Document = dict[str, Any]
"""A JSON document of the engine or of Kubernetes."""


@dataclass(frozen=True)
class Resource:
    """One resource of the state, of a plan, or of an operation that was interrupted."""

    document: Document

    @property
    def urn(self) -> str:
        """The engine's unique name of the resource."""
        return str(self.document["urn"])

    @property
    def name(self) -> str:
        """The program's name of the resource."""
        return self.urn.rpartition("::")[2]

    @property
    def type(self) -> str:
        """The type, such as `kubernetes:core/v1:Namespace`."""
        return str(self.document["type"])

    @property
    def inputs(self) -> Document:
        """What the program passed to the resource; secrets are in envelopes."""
        inputs: Document = self.document.get("inputs") or {}
        return inputs

    @property
    def outputs(self) -> Document:
        """What the provider returned; secrets are in envelopes."""
        outputs: Document = self.document.get("outputs") or {}
        return outputs

    @property
    def kind(self) -> str:
        """The kind of the Kubernetes object, or an empty text for other resources."""
        return self.type.rpartition(":")[2] if self.type.startswith("kubernetes:") else ""

    @property
    def owned(self) -> bool:
        """Whether the stack created the resource. It only reads an external one, and never deletes it."""
        return not self.document.get("external", False)

    @property
    def protected(self) -> bool:
        """Whether the engine refuses to delete the resource."""
        return bool(self.document.get("protect", False))

    @property
    def retained(self) -> bool:
        """Whether the engine forgets the resource instead of deleting it."""
        return bool(self.document.get("retainOnDelete", False))

    @property
    def identity(self) -> str:
        """The Kubernetes object as the provider identifies it, `namespace/name`; empty if the program names none."""
        metadata = self.inputs.get("metadata", {})
        return "/".join(part for part in (metadata.get("namespace"), metadata.get("name")) if part)


@dataclass(frozen=True)
class State:
    """What the engine knows of the stack."""

    resources: list[Resource]
    unfinished: list[Resource]
    """Resources whose creation was interrupted: the engine does not know whether they exist."""
    interrupted: bool
    """Whether a change of any kind was interrupted."""

    @classmethod
    def of(cls, document: Document) -> "State":
        """Read what `pulumi stack export` prints."""
        deployment: Document = document.get("deployment") or {}
        pending: list[Document] = deployment.get("pending_operations") or []
        return cls(
            [Resource(it) for it in deployment.get("resources") or []],
            [Resource(it["resource"]) for it in pending if it["type"] == "creating"],
            interrupted=bool(pending),
        )

    def recorded(self, name: str) -> str:
        """Return the value that a stash of this name keeps, or an empty text."""
        return next((str(it.outputs["output"]) for it in self.resources if (it.type, it.name) == (STASH, name)), "")


@dataclass(frozen=True)
class Step:
    """One operation of a plan, on the resource as it is and as it will be."""

    operation: str
    old: Resource | None
    new: Resource | None


@dataclass(frozen=True)
class Lock:
    """A file that keeps other processes from changing a stack; a killed process leaves it behind."""

    file: Path
    user: str
    host: str
    process: int
    since: str

    @property
    def stale(self) -> bool:
        """Whether its process ran on this machine and has ended."""
        return self.host == socket.gethostname() and not Path("/proc", str(self.process)).exists()

    def __str__(self) -> str:
        return f"{self.file}, made by process {self.process} of {self.user} on {self.host} at {self.since}"


@dataclass(frozen=True)
class Engine:
    """The CLI, its environment, the folder with Pulumi.yaml, and the stack on which every command works."""

    program: str
    environment: Mapping[str, str]
    folder: Path
    stack: str

    def run(self, *words: str) -> int:
        """Run a command whose output the user sees, and return its exit code."""
        return subprocess.run(self._command(words), cwd=self.folder, env=self.environment, check=False).returncode

    def state(self, *, secrets: bool = False) -> State:
        """Return the stack's state, on demand with its secrets. Raise UserError if the engine cannot read it."""
        return State.of(self._exported("--show-secrets") if secrets else self._exported())

    def adopt(self, created: Sequence[Resource]) -> int:
        """Put objects whose creation was interrupted into the state, and forget other interrupted operations.

        An object that one of them replaces is to be deleted, unless it was deleted before.
        Return the engine's exit code. A refresh must follow: it reads the objects. (`refresh --import-pending-creates`
        leaves them out of the state: tried with engine 3.260.)
        """
        exported = self._exported()
        deployment: Document = exported["deployment"]
        deployment["pending_operations"] = []
        replaced = {it.urn for it in created}
        deployment["resources"] = [
            {**it, "delete": True} if it["urn"] in replaced else it
            for it in deployment["resources"]
            if not (it["urn"] in replaced and it.get("pendingReplacement"))
        ] + [{**it.document, "id": it.identity, "outputs": it.inputs} for it in created]
        with tempfile.NamedTemporaryFile("w", suffix=".json", encoding="utf-8") as file:
            json.dump(exported, file)
            file.flush()
            return self.run("stack", "import", "--file", file.name, "--stack", self.stack)

    def _exported(self, *options: str) -> Document:
        words = ("stack", "export", "--stack", self.stack, *options)
        done = self._captured(words)
        if done.returncode != 0:
            sys.stderr.write(done.stderr)
            raise UserError(f"`pulumi {' '.join(words)}` failed: its output above has the reason.")
        exported: Document = json.loads(done.stdout)
        return exported

    def lock(self) -> Lock | None:
        """Return the lock on the stack, or None. Only a state in a local folder is read.

        The engine reports every lock, but only after the image is built, and not whether its process still exists.
        """
        url = urllib.parse.urlsplit(self.environment.get("PULUMI_BACKEND_URL", ""))
        folder = Path(urllib.request.url2pathname(url.path), ".pulumi", "locks")
        for file in sorted(folder.glob(f"**/{self.stack}/*.json")) if url.scheme == "file" else ():
            content: Document = json.loads(file.read_text(encoding="utf-8"))
            return Lock(file, content["username"], content["hostname"], content["pid"], content["timestamp"])
        return None

    def plan(self, *options: str) -> list[Step] | None:
        """Return what `up` would do, or None if the engine cannot plan it."""
        done = self._captured(("preview", "--json", "--stack", self.stack, *options))
        if done.returncode != 0:
            return None
        steps: list[Document] = json.loads(done.stdout).get("steps", [])
        return [Step(it["op"], _resource(it.get("oldState")), _resource(it.get("newState"))) for it in steps]

    def paste(self, *words: str) -> str:
        """Return a command for the user's shell, which runs on this stack."""
        return f"{self.program} {' '.join(words)} --stack {self.stack}"

    def _captured(self, words: tuple[str, ...]) -> subprocess.CompletedProcess[str]:
        command = self._command(words)
        return subprocess.run(
            command, cwd=self.folder, env=self.environment, check=False, capture_output=True, text=True
        )

    def _command(self, words: tuple[str, ...]) -> list[str]:
        return [self.program, *words]


def _resource(document: Document | None) -> Resource | None:
    return None if document is None else Resource(document)
