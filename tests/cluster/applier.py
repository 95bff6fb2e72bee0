"""Applies the program to a real cluster without the engine, which is in no package registry.

`apply` runs infra/__main__.py in a process of its own, with mocks that really create, change and await each Kubernetes
object as the provider does; the SDK orders them by their inputs and dependencies. What the engine keeps in its state is
kept in a file: generated secrets and certificates, by name and keepers, and the objects, so that what disappears from
the program is deleted. Previews, protection, replacement plans and refreshes are the engine's own and not played here.
"""

import asyncio
import base64
import hashlib
import json
import logging
import os
import secrets
import string
import subprocess
import sys
import threading
from collections.abc import Callable, Collection
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Self

import pulumi
from pulumi.runtime.mocks import MockCallArgs, MockMonitor, MockResourceArgs, Mocks

from tests.certificates import OUTPUTS, issue
from tests.cluster.kubectl import Kubectl, KubectlError, Object
from tests.infra.program import CHECKOUT, Config, engine_environment, execute, plain

Outputs = dict[str, Any]
AWAIT_SECONDS = 240
_ALPHANUMERIC = string.ascii_letters + string.digits
_HEXADECIMAL = "0123456789abcdef"


class ApplyError(Exception):
    """The program stopped or the cluster refused; the message is what a user would see, with events and logs."""


def apply(config: Config, image: str, state: Path, kubeconfig: Path, stack: str = "dev") -> Outputs:
    """Make the cluster what the program says, and give the stack's outputs, secrets open. Raises ApplyError."""
    environment = {
        **os.environ,
        **engine_environment(config, image),
        "KUBECONFIG": str(kubeconfig),
        "PYTHONPATH": f"{CHECKOUT / 'infra'}{os.pathsep}{CHECKOUT}",
    }
    done = subprocess.run(
        [sys.executable, "-m", "tests.cluster.applier", str(state), stack],
        cwd=CHECKOUT,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise ApplyError(done.stderr)
    outputs: Outputs = json.loads(done.stdout)
    return outputs


def destroy(state: Path, kubeconfig: Path, keep: Collection[str] = ()) -> None:
    """Delete every object of the state but those of the kinds to keep, the last one first, and forget the secrets."""
    kept = State.load(state)
    kubectl = Kubectl(kubeconfig)
    for key, made in reversed(list(kept.objects.items())):
        if made.kind not in keep:
            kubectl.delete(made.kind, made.namespace, made.name)
            del kept.objects[key]
            kept.save(state)
    kept.generated.clear()
    kept.save(state)


@dataclass
class Made:
    """An object in the cluster, and a hash of what it was made from."""

    kind: str
    namespace: str
    name: str
    source: str


@dataclass
class Generated:
    """A secret that random:* would make, or a key or certificate that tls:* would."""

    keepers: dict[str, str]
    result: str


@dataclass
class State:
    """What lasts from one application to the next; objects in the order in which they were made."""

    objects: dict[str, Made] = field(default_factory=dict)
    generated: dict[str, Generated] = field(default_factory=dict)
    superseded: list[Made] = field(default_factory=list)

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read the state; a missing file is an empty one."""
        document = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
        return cls(
            {key: Made(**made) for key, made in document.get("objects", {}).items()},
            {key: Generated(**made) for key, made in document.get("generated", {}).items()},
            [Made(**made) for made in document.get("superseded", [])],
        )

    def save(self, path: Path) -> None:
        """Write the state, whole or not at all, for nobody else to read."""
        written = path.with_suffix(".new")
        written.touch(mode=0o600)
        written.write_text(json.dumps(asdict(self)), encoding="utf-8")
        written.replace(path)


class RealProviders(Mocks):
    """Makes real what the program registers; called from many threads at once, as the provider is."""

    def __init__(self, path: Path, kubectl: Kubectl) -> None:
        self._path = path
        self._kubectl = kubectl
        self._state = State.load(path)
        self._lock = threading.Lock()
        self._registered: set[str] = set()

    def call(self, args: MockCallArgs) -> tuple[dict[str, Any], list[tuple[str, str]] | None]:
        raise AssertionError(f"the program calls {args.token}")

    def new_resource(self, args: MockResourceArgs) -> tuple[str, dict[str, Any]]:
        """Do what the resource's provider would, and give its id and state."""
        if args.typ == "random:index/randomPassword:RandomPassword":
            return args.name, {**args.inputs, "result": self._generate(args.name, plain(args.inputs))}
        if args.typ in OUTPUTS:
            return args.name, {**args.inputs, OUTPUTS[args.typ]: self._certify(args.name, args.typ, plain(args.inputs))}
        if args.typ == "pulumi:providers:kubernetes":
            self._kubectl = replace(self._kubectl, context=args.inputs.get("context", ""))
        if not args.typ.startswith("kubernetes:"):
            return f"{args.name}-id", dict(args.inputs)
        kind = args.typ.rpartition(":")[2]
        live = self._read(kind, args.resource_id) if args.resource_id else self._make(args.name, plain(args.inputs))
        metadata = live["metadata"]
        identity = "/".join(part for part in (metadata.get("namespace"), metadata["name"]) if part)
        return identity, {key: value for key, value in live.items() if key != "data"}  # no secret leaves its envelope

    def delete_what_disappeared(self) -> None:
        """End what another application made and this one did not, the last one first."""
        gone = [key for key in self._state.objects if key not in self._registered]
        for made in self._state.superseded + [self._state.objects[key] for key in reversed(gone)]:
            self._kubectl.delete(made.kind, made.namespace, made.name)
        for key in gone:
            del self._state.objects[key]
        self._state.superseded.clear()
        self._state.save(self._path)

    def _generate(self, name: str, inputs: dict[str, Any]) -> str:
        def random() -> str:
            return "".join(secrets.choice(_ALPHANUMERIC) for _ in range(int(inputs["length"])))

        return self._kept(name, inputs["keepers"], random)

    def _certify(self, name: str, kind: str, inputs: dict[str, Any]) -> str:
        source = hashlib.sha256(json.dumps(inputs, sort_keys=True).encode()).hexdigest()
        return self._kept(name, {"inputs": source}, lambda: issue(kind, inputs))

    def _kept(self, name: str, keepers: dict[str, str], make: Callable[[], str]) -> str:
        """Give what an earlier application made under this name of the same inputs, or make it."""
        with self._lock:
            found = self._state.generated.get(name)
            if found is None or found.keepers != keepers:
                found = self._state.generated[name] = Generated(keepers, make())
                self._state.save(self._path)
            return found.result

    def _read(self, kind: str, identity: str) -> Object:
        namespace, _, name = identity.rpartition("/")
        live = self._kubectl.get(kind, namespace, name)
        if live is None:
            raise KubectlError(f"{kind} {identity} does not exist")
        return live

    def _make(self, resource: str, described: Object) -> Object:
        """Create or change an object and wait for it; a Job is made anew where anything of it changed or it failed."""
        described = _as_sent(described)
        kind, metadata = described["kind"], described["metadata"]
        namespace = metadata.get("namespace", "")
        source = hashlib.sha256(json.dumps(described, sort_keys=True).encode()).hexdigest()
        key = f"{kind} {resource}"
        with self._lock:
            self._registered.add(key)
            before = self._state.objects.get(key)
        if before and kind == "Job":
            live = self._kubectl.get(kind, namespace, before.name)
            if live and before.source == source and _job_condition(live) == "Complete":
                return live
            self._state.superseded.append(before)
            before = None
        name = metadata.setdefault("name", before.name if before else f"{resource}-{_suffix()}")
        if before and before.name != name:
            self._state.superseded.append(before)
            before = None
        if before is None and self._kubectl.get(kind, namespace, name):
            raise KubectlError(f"{kind} {name} exists already, and this stack did not make it")
        live = self._kubectl.apply(described, manager="pulumi-kubernetes")
        with self._lock:
            self._state.objects.pop(key, None)
            self._state.objects[key] = Made(kind, namespace, name, source)
            self._state.save(self._path)
        return self._awaited(live)

    def _awaited(self, live: Object) -> Object:
        kind, metadata = live["kind"], live["metadata"]
        ready = {"Deployment": _rolled_out, "Job": _finished, "PersistentVolumeClaim": self._bound}.get(kind)
        if ready is None:
            return live
        done = self._kubectl.wait(kind, metadata["namespace"], metadata["name"], ready, AWAIT_SECONDS)
        if kind == "Job" and _job_condition(done) != "Complete":
            story = self._kubectl.story(metadata["namespace"])
            raise KubectlError(f"Job {metadata['name']} failed: {json.dumps(done['status'])}\n{story}")
        return done

    def _bound(self, claim: Object) -> bool:
        if claim["status"].get("phase") == "Bound":
            return True
        storage_class = self._kubectl.get("storageclass", "", claim["spec"].get("storageClassName") or "-")
        return storage_class is not None and storage_class.get("volumeBindingMode") == "WaitForFirstConsumer"


def _as_sent(described: Object) -> Object:
    """Do as the provider does: the clear text of a Secret becomes data, and annotations for the provider stay."""
    sent: Object = json.loads(json.dumps(described))
    if clear := sent.pop("stringData", None):
        sent["data"] = {key: base64.b64encode(value.encode()).decode() for key, value in clear.items()}
    return sent


def _suffix() -> str:
    return "".join(secrets.choice(_HEXADECIMAL) for _ in range(8))


def _job_condition(job: Object) -> str:
    """Say whether a Job is Complete, Failed, or neither yet."""
    conditions = {it["type"] for it in job.get("status", {}).get("conditions", []) if it["status"] == "True"}
    return next((it for it in ("Complete", "Failed") if it in conditions), "")


def _finished(job: Object) -> bool:
    return bool(_job_condition(job))


def _rolled_out(deployment: Object) -> bool:
    """Say whether all pods are of the newest template and available, and no older one is left."""
    wanted, status = deployment["spec"]["replicas"], deployment.get("status", {})
    return bool(
        status.get("observedGeneration") == deployment["metadata"]["generation"]
        and status.get("updatedReplicas", 0) == wanted
        and status.get("replicas", 0) == wanted
        and status.get("availableReplicas", 0) == wanted
    )


async def _apply(state: Path, kubeconfig: Path, stack: str) -> Outputs:
    providers = RealProviders(state, Kubectl(kubeconfig))
    outputs, _ = await execute(MockMonitor(providers), stack)
    providers.delete_what_disappeared()
    return outputs


if __name__ == "__main__":
    logging.getLogger(
        "asyncio"
    ).disabled = True  # the SDK leaves futures of what failed behind, each with the same error
    try:
        found = asyncio.run(_apply(Path(sys.argv[1]), Path(os.environ["KUBECONFIG"]), sys.argv[2]))
    except (pulumi.RunError, KubectlError) as error:
        sys.exit(str(error))
    sys.stdout.write(json.dumps(found))
