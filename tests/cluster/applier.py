"""Applies the program to a real cluster without the engine, which is in no package registry.

`apply` runs infra/__main__.py in its own process, with mocks that really create, change and await each Kubernetes
object as the provider does; the SDK orders them by their inputs and dependencies. A file replaces the engine's state:
it contains the generated secrets and certificates by name and keepers, and the objects, so that an object that
disappears from the program is deleted. Previews, protection, replacement plans and refreshes exist only in the engine.
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
from tests.infra.program import CHECKOUT, STASH, Config, engine_environment, execute, plain

Outputs = dict[str, Any]
AWAIT_SECONDS = 240
_ALPHANUMERIC = string.ascii_letters + string.digits
_HEXADECIMAL = "0123456789abcdef"


class ApplyError(Exception):
    """The program failed or the cluster rejected an object; the message is the program's, with events and logs."""


def apply(config: Config, image: str, state: Path, kubeconfig: Path, stack: str = "dev") -> Outputs:
    """Apply the program; return the stack's outputs with secrets in plain text. Raise ApplyError if it fails."""
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
    """Delete the objects of the state in reverse order, except the kinds in `keep`, and forget the secrets."""
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
    """An object in the cluster, and a hash of its description."""

    kind: str
    namespace: str
    name: str
    source: str


@dataclass
class Generated:
    """A secret of the provider `random`, a key or certificate of the provider `tls`, or the first value of a stash."""

    keepers: dict[str, str]
    result: str


@dataclass
class State:
    """The data kept from one run of `apply` to the next; objects in the order of their creation."""

    objects: dict[str, Made] = field(default_factory=dict)
    generated: dict[str, Generated] = field(default_factory=dict)
    superseded: list[Made] = field(default_factory=list)

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read the state; it is empty if the file is missing."""
        document = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
        return cls(
            {key: Made(**made) for key, made in document.get("objects", {}).items()},
            {key: Generated(**made) for key, made in document.get("generated", {}).items()},
            [Made(**made) for made in document.get("superseded", [])],
        )

    def save(self, path: Path) -> None:
        """Write the state atomically, readable by its owner only."""
        written = path.with_suffix(".new")
        written.touch(mode=0o600)
        written.write_text(json.dumps(asdict(self)), encoding="utf-8")
        written.replace(path)


class RealProviders(Mocks):
    """Creates what the program registers; called from many threads at once, as a provider is."""

    def __init__(self, path: Path, kubectl: Kubectl) -> None:
        self._path = path
        self._kubectl = kubectl
        self._state = State.load(path)
        self._lock = threading.Lock()
        self._registered: set[str] = set()

    def call(self, args: MockCallArgs) -> tuple[dict[str, Any], list[tuple[str, str]] | None]:
        raise AssertionError(f"the program calls {args.token}")

    def new_resource(self, args: MockResourceArgs) -> tuple[str, dict[str, Any]]:
        """Do what the resource's provider would; return the resource's id and state."""
        if args.typ == "random:index/randomPassword:RandomPassword":
            return args.name, {**args.inputs, "result": self._generate(args.name, plain(args.inputs))}
        if args.typ in OUTPUTS:
            return args.name, {**args.inputs, OUTPUTS[args.typ]: self._certify(args.name, args.typ, plain(args.inputs))}
        if args.typ == STASH:
            return args.name, {**args.inputs, "output": self._kept(args.name, {}, lambda: str(args.inputs["input"]))}
        if args.typ == "pulumi:providers:kubernetes":
            self._kubectl = replace(self._kubectl, context=args.inputs.get("context", ""))
        if not args.typ.startswith("kubernetes:"):
            return f"{args.name}-id", dict(args.inputs)
        kind = args.typ.rpartition(":")[2]
        live = self._read(kind, args.resource_id) if args.resource_id else self._make(args.name, plain(args.inputs))
        metadata = live["metadata"]
        identity = "/".join(part for part in (metadata.get("namespace"), metadata["name"]) if part)
        return identity, {key: value for key, value in live.items() if key != "data"}  # no Secret's data in the state

    def delete_what_disappeared(self) -> None:
        """Delete in reverse order the objects that an earlier run created and this run did not register."""
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
        """Return the value that an earlier run made under this name with the same keepers, or make one."""
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
        """Create or change an object and wait for it; a Job that changed or failed is created again."""
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
            raise KubectlError(f"{kind} {name} already exists and was not created by this stack")
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
    """Convert `stringData` to `data` as the provider does; annotations for the provider stay."""
    sent: Object = json.loads(json.dumps(described))
    if clear := sent.pop("stringData", None):
        sent["data"] = {key: base64.b64encode(value.encode()).decode() for key, value in clear.items()}
    return sent


def _suffix() -> str:
    return "".join(secrets.choice(_HEXADECIMAL) for _ in range(8))


def _job_condition(job: Object) -> str:
    """Return Complete, Failed, or an empty text for a Job that has not finished."""
    conditions = {it["type"] for it in job.get("status", {}).get("conditions", []) if it["status"] == "True"}
    return next((it for it in ("Complete", "Failed") if it in conditions), "")


def _finished(job: Object) -> bool:
    return bool(_job_condition(job))


def _rolled_out(deployment: Object) -> bool:
    """Return whether all pods are available and of the newest template, and none is of an older one."""
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
    logging.getLogger("asyncio").disabled = True  # the SDK leaves failed futures behind, each with the same error
    try:
        found = asyncio.run(_apply(Path(sys.argv[1]), Path(os.environ["KUBECONFIG"]), sys.argv[2]))
    except (pulumi.RunError, KubectlError) as error:
        sys.exit(str(error))
    sys.stdout.write(json.dumps(found))
