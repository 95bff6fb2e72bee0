"""The cluster to which a stack is deployed, as its kubeconfig and context name it; read with kubectl."""

import json
import os
import shutil
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Self

from ruamel.yaml import YAML

from tools.cluster import node
from tools.engine import Document
from tools.errors import UserError

ANSWER_TIMEOUT: Final = "20s"
CONTEXT: Final = "neobank:kubeContext"
DATABASE: Final = "deployment/postgres-deployment"
HOLDINGS: Final = "SELECT players, money_supply FROM ledger_figures"


@dataclass(frozen=True)
class Target:
    """The cluster that a stack's engine would change."""

    context: str
    environment: Mapping[str, str] = field(repr=False)

    @classmethod
    def of(cls, stack_file: Path, environment: Mapping[str, str]) -> Self:
        """Return the target of a stack file. Raise UserError if the environment's kubeconfig does not exist."""
        named = environment.get("KUBECONFIG", "")
        files = [Path(part) for part in named.split(os.pathsep) if part]
        if files and not any(file.is_file() for file in files):
            raise UserError(f"KUBECONFIG is {named}, which does not exist: set it to the kubeconfig of the cluster.")
        config = YAML(typ="safe").load(stack_file).get("config") or {}
        return cls(str(config.get(CONTEXT) or ""), environment)

    def uid(self, namespace: str) -> str:
        """Return the uid of a namespace that every cluster has. Raise UserError if the cluster does not answer."""
        where = ["get", "namespace", namespace, "--output=jsonpath={.metadata.uid}"]
        done = self._kubectl(*where, f"--request-timeout={ANSWER_TIMEOUT}")
        if done.returncode != 0:
            named = self.environment.get("KUBECONFIG") or "~/.kube/config"
            context = f"context {self.context} of {named}" if self.context else named
            raise UserError(
                f"the cluster of {context} cannot be read ({_last_line(done.stderr)}): "
                "start it, or set KUBECONFIG and kubeContext to the cluster of this stack."
            )
        return done.stdout.strip()

    def exists(self, kind: str, identity: str) -> bool:
        """Return whether an object `namespace/name`, or `name`, exists. Raise UserError if kubectl fails."""
        namespace, _, name = identity.rpartition("/")
        where = [f"--namespace={namespace}"] if namespace else []
        words = [
            "get",
            kind,
            name,
            *where,
            "--ignore-not-found",
            "--output=name",
            f"--request-timeout={ANSWER_TIMEOUT}",
        ]
        return self._answer(words) != ""

    def holdings(self, namespace: str) -> str:
        """Return in words how much money of how many players is in a namespace's database."""
        psql = ["psql", "--host=/var/run/postgresql", "--username=postgres", "--dbname=neobank"]
        query = ["--no-align", "--tuples-only", f"--command={HOLDINGS}"]
        done = self._kubectl("exec", f"--namespace={namespace}", DATABASE, "--", *psql, *query)
        players, _, hundredths = done.stdout.strip().partition("|")
        if done.returncode != 0 or not hundredths:
            return f"money of players that could not be counted ({_last_line(done.stderr)})"
        return f"¤{int(hundredths) / 100:,.2f} of {players} players"

    def read_objects(self, documents: Sequence[Document]) -> list[Document]:
        """Return those of these objects that exist. Raise UserError if kubectl fails."""
        return self._objects(["get", "--ignore-not-found"], documents)

    def complete_objects(self, documents: Sequence[Document]) -> list[Document]:
        """Return these objects as the cluster would create them, storing none. Raise UserError if kubectl fails."""
        return self._objects(["create", "--dry-run=server"], documents)

    def list_objects(self, kind: str, namespace: str) -> list[Document]:
        """Return all objects of a kind in a namespace. Raise UserError if kubectl fails."""
        return self._objects(["get", kind, f"--namespace={namespace}"])

    def _objects(self, words: list[str], documents: Sequence[Document] | None = None) -> list[Document]:
        given = None if documents is None else json.dumps({"apiVersion": "v1", "kind": "List", "items": documents})
        source = [] if given is None else ["--filename=-"]
        return list(_documents(self._answer([*words, *source, "--output=json"], given)))

    def _answer(self, words: list[str], given: str | None = None) -> str:
        done = self._kubectl(*words, given=given)
        if done.returncode != 0:
            raise UserError(f"`kubectl {' '.join(words)}` failed: {_last_line(done.stderr)}")
        return done.stdout.strip()

    def _kubectl(self, *words: str, given: str | None = None) -> subprocess.CompletedProcess[str]:
        program = shutil.which("kubectl") or (str(node.KUBECTL) if node.KUBECTL.exists() else None)
        if program is None:
            raise UserError("kubectl is not installed: install it as kubernetes.io/docs/tasks/tools describes.")
        context = [f"--context={self.context}"] if self.context else []
        command = [program, *context, *words]
        return subprocess.run(command, env=self.environment, input=given, check=False, capture_output=True, text=True)


def _documents(text: str) -> Iterator[Document]:
    """Yield the objects that kubectl printed: one, several in sequence, or a list."""
    rest = text
    while rest:
        document, end = json.JSONDecoder().raw_decode(rest)
        yield from document.get("items", [document])
        rest = rest[end:].strip()


def _last_line(text: str) -> str:
    return (text.strip().splitlines() or ["no answer"])[-1]
