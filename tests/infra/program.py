"""Runs the program without its engine and keeps all that it registers, secrets in their envelopes."""

import asyncio
import hashlib
import json
import os
import runpy
import shutil
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

import pulumi
import yaml
from pulumi.runtime import rpc
from pulumi.runtime.mocks import MockCallArgs, MockMonitor, MockResourceArgs, Mocks, set_mocks
from pulumi.runtime.proto import resource_pb2
from pulumi.runtime.settings import SETTINGS, get_root_resource
from pulumi.runtime.stack import Stack, run_pulumi_func

from tests.certificates import OUTPUTS

CHECKOUT = Path(__file__).resolve().parents[2]
IMAGE = "registry.example/neobank:0123456789abcdef"
DIGEST_IMAGE = "registry.example/neobank@sha256:" + "0123456789abcdef" * 4
Config = Mapping[str, Any]
"""A stack's configuration as in its file, without the project's name before each key."""


@dataclass(frozen=True)
class Registered:
    """One resource as the program registered it; `raw` are its inputs with secrets in envelopes."""

    urn: str
    type: str
    name: str
    raw: dict[str, Any]
    depends_on: frozenset[str]
    protect: bool
    retain: bool
    provider: str
    timeouts: dict[str, str]
    ignore_changes: tuple[str, ...]

    @property
    def inputs(self) -> dict[str, Any]:
        """The inputs as the provider receives them, secrets in plain text."""
        opened: dict[str, Any] = plain(self.raw)
        return opened

    @property
    def kind(self) -> str:
        return self.type.rpartition(":")[2]

    @property
    def object_name(self) -> str:
        """The object's name if the program sets one, or an empty text."""
        fixed: str = self.inputs.get("metadata", {}).get("name", "")
        return fixed


@dataclass(frozen=True)
class Program:
    """All resources that one run registered, in order, and its outputs."""

    resources: list[Registered]
    outputs: dict[str, Any]
    secret_outputs: frozenset[str]

    def of_kind(self, *kinds: str) -> list[Registered]:
        return [resource for resource in self.resources if resource.kind in kinds]

    def find(self, kind: str, name: str = "") -> Registered:
        """Return the only resource of a kind; `name` is the resource's or the object's."""
        found = [it for it in self.of_kind(kind) if name in {"", it.name, it.object_name}]
        assert len(found) == 1, f"{kind} {name}: {[it.urn for it in found]}"
        return found[0]

    def kubernetes(self) -> list[Registered]:
        return [it for it in self.resources if it.type.startswith("kubernetes:")]

    def listed(self, *kinds: str) -> dict[str, Any]:
        """Return what `kubectl get --output=json` would list of these kinds."""
        items = []
        for it in self.of_kind(*kinds):
            metadata = {"name": it.name, **it.inputs["metadata"], "creationTimestamp": "2026-11-22T10:00:00Z"}
            items.append({**it.inputs, "kind": it.kind, "metadata": metadata})
        return {"kind": "List", "items": items}

    def pods(self) -> Iterator[tuple[str, dict[str, Any]]]:
        """Yield the name of each workload with its pod template."""
        for workload in self.of_kind("Deployment", "Job"):
            yield workload.name, workload.inputs["spec"]["template"]
        for workload in self.of_kind("CronJob"):
            yield workload.name, workload.inputs["spec"]["jobTemplate"]["spec"]["template"]

    def containers(self) -> Iterator[tuple[str, dict[str, Any]]]:
        """Yield `workload/container` with the container's description, init containers first."""
        for name, pod in self.pods():
            for container in pod["spec"].get("initContainers", []) + pod["spec"]["containers"]:
                yield f"{name}/{container['name']}", container

    def checksums(self) -> dict[str, str]:
        """Return the annotation whose change rolls the pods, by workload; the CronJob's pods read the Secret anew."""
        annotations = {name: pod["metadata"].get("annotations", {}) for name, pod in self.pods()}
        return {name: it.get("checksum/inputs") for name, it in annotations.items() if name != "neobank-expire"}


class Recorder(MockMonitor):
    """A monitor that keeps the requests, because mocks see neither dependencies nor protection."""

    def __init__(self, mocks: Mocks) -> None:
        super().__init__(mocks)
        self.registered: list[Registered] = []

    def RegisterResource(  # noqa: N802  # the protocol's name
        self, request: resource_pb2.RegisterResourceRequest
    ) -> resource_pb2.RegisterResourceResponse:
        timeouts = {name: getattr(request.customTimeouts, name) for name in ("create", "update", "delete")}
        record = Registered(
            urn=self.make_urn(request.parent, request.type, request.name),
            type=request.type,
            name=request.name,
            raw=rpc.deserialize_properties(request.object),
            depends_on=frozenset(request.dependencies),
            protect=request.protect,
            retain=request.retainOnDelete,
            provider=request.provider,
            timeouts={name: value for name, value in timeouts.items() if value},
            ignore_changes=tuple(request.ignoreChanges),
        )
        self.registered.append(record)
        with _event_loop():
            response: resource_pb2.RegisterResourceResponse = super().RegisterResource(request)  # type: ignore[no-untyped-call]
        return response

    def ReadResource(  # noqa: N802
        self, request: resource_pb2.ReadResourceRequest
    ) -> resource_pb2.ReadResourceResponse:
        with _event_loop():
            response: resource_pb2.ReadResourceResponse = super().ReadResource(request)  # type: ignore[no-untyped-call]
        return response


@contextmanager
def _event_loop() -> Iterator[None]:
    """Set an event loop for this worker thread and close it; the monitor would open one per thread and close none."""
    loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)
    try:
        yield
    finally:
        asyncio.set_event_loop(None)
        loop.close()


STASH = "pulumi:index:Stash"


class FakeProviders(Mocks):
    """Answers as the providers do: generated values, uids, auto-names; a secret input stays secret in the state."""

    def __init__(self, stashed: str = "") -> None:
        self.stashed = stashed
        """The value that a stash keeps from an earlier run."""

    def call(self, args: MockCallArgs) -> tuple[dict[str, Any], list[tuple[str, str]] | None]:
        raise AssertionError(f"the program calls {args.token}")

    def new_resource(self, args: MockResourceArgs) -> tuple[str, dict[str, Any]]:
        if args.typ == "random:index/randomPassword:RandomPassword":
            return args.name, {**args.inputs, "result": generated(args.name, args.inputs["keepers"]["rotation"])}
        if args.typ in OUTPUTS:
            return args.name, {**args.inputs, OUTPUTS[args.typ]: self.pem(args)}
        if args.typ == STASH:
            return args.name, {**args.inputs, "output": self.stashed or args.inputs["input"]}
        if args.resource_id:
            name = args.resource_id.rpartition("/")[2]
            return args.resource_id, {"metadata": {"name": name, "uid": f"uid of {name}"}}
        if not args.typ.startswith("kubernetes:"):
            return f"{args.name}-id", dict(args.inputs)
        metadata = dict(args.inputs["metadata"])
        metadata.setdefault("name", f"{args.name}-1a2b3c4d")
        metadata["uid"] = f"uid of {metadata['name']}"
        return f"{args.name}-id", {**args.inputs, "metadata": metadata}

    def pem(self, args: MockResourceArgs) -> str:
        """Return a key or certificate of the provider `tls`, which depends on all inputs."""
        what = "EC PRIVATE KEY" if args.typ.endswith("PrivateKey") else "CERTIFICATE"
        source = json.dumps(plain(args.inputs), sort_keys=True)
        return f"-----BEGIN {what}-----\n{generated(args.name, source)}\n-----END {what}-----\n"


def generated(name: str, rotation: str) -> str:
    """Return the password that the fake provider generates from a name and a rotation number."""
    return hashlib.sha256(f"{name} {rotation}".encode()).hexdigest()[:32]


def is_secret(value: object) -> bool:
    return isinstance(value, dict) and value.get(rpc._special_sig_key) == rpc._special_secret_sig


def plain(value: Any) -> Any:  # noqa: ANN401  # a JSON document
    """Return a document with all secrets in plain text."""
    return _replaced(value, lambda secret: plain(secret["value"]))


def visible(value: Any) -> str:  # noqa: ANN401
    """Return the part of a document that the state stores in plain text."""
    return json.dumps(_replaced(value, lambda _: "[secret]"))


def _replaced(value: Any, secret: Callable[[dict[str, Any]], Any]) -> Any:  # noqa: ANN401
    if is_secret(value):
        return secret(value)
    if isinstance(value, dict):
        return {key: _replaced(item, secret) for key, item in value.items()}
    if isinstance(value, list):
        return [_replaced(item, secret) for item in value]
    return value


def stack_file(stack: str) -> Config:
    """Read a committed stack's configuration."""
    document = yaml.safe_load((CHECKOUT / f"Pulumi.{stack}.yaml").read_text(encoding="utf-8"))
    return {key.removeprefix("neobank:"): value for key, value in document["config"].items()}


def merged(config: Config, changes: Config) -> Config:
    """Return a configuration with changes, merging nested objects key by key."""
    deeper = {
        key: merged(config[key], value) if isinstance(value, dict) and isinstance(config.get(key), dict) else value
        for key, value in changes.items()
    }
    return {**config, **deeper}


PARTS = ("Pulumi.yaml", "infra", "database", "service/neobank/contract.toml")
"""The files and folders that the engine needs to run the program."""


def copy_program(folder: Path) -> None:
    """Copy the program to a folder in which the engine can run it, with this interpreter's packages."""
    for part in PARTS:
        source, copy = CHECKOUT / part, folder / part
        copy.parent.mkdir(parents=True, exist_ok=True)
        if source.is_dir():
            shutil.copytree(source, copy, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source, copy)
    (folder / ".venv").symlink_to(sys.prefix)


POSTGRES_IMAGE = "docker.io/library/postgres@sha256:" + "89abcdef01234567" * 4
PROD = merged(
    stack_file("prod"),
    {"kubeContext": "event", "ingress": {"host": "bank.example.org"}, "postgres": {"image": POSTGRES_IMAGE}},
)
"""The committed prod stack with the keys that each event sets itself."""


def engine_environment(config: Config, image: str = IMAGE) -> dict[str, str]:
    """Return the engine's environment variables for the program; values other than strings are JSON."""
    texts = {f"neobank:{key}": value if isinstance(value, str) else json.dumps(value) for key, value in config.items()}
    return {"PULUMI_CONFIG": json.dumps(texts), "NEOBANK_IMAGE": image}


def run(config: Config, stack: str = "dev", image: str = IMAGE, recorder: Recorder | None = None) -> Program:
    """Run the program with a configuration. Raise the program's own errors."""
    recorder = recorder or Recorder(FakeProviders())
    with mock.patch.dict(os.environ, engine_environment(config, image)):
        outputs, secret_outputs = asyncio.run(execute(recorder, stack))
    resources = [it for it in recorder.registered if it.type != "pulumi:pulumi:Stack"]
    return Program(resources, outputs, secret_outputs)


def run_prod(changes: Config | None = None, recorder: Recorder | None = None) -> Program:
    """Run the program with the committed prod stack and changes to it."""
    return run(merged(PROD, changes or {}), "prod", DIGEST_IMAGE, recorder)


def run_dev(changes: Config | None = None) -> Program:
    """Run the program with the committed dev stack and changes to it."""
    return run(merged(stack_file("dev"), changes or {}))


def rolled(before: Program, after: Program) -> set[str]:
    """Return the workloads of the first run whose pods the second run rolls."""
    checksums = after.checksums()
    return {name for name, checksum in before.checksums().items() if checksum != checksums[name]}


async def execute(monitor: MockMonitor, stack: str) -> tuple[dict[str, Any], frozenset[str]]:
    """Run the program against a monitor; return its outputs and the names of the secret ones.

    It needs its own task, whose context separates this run's stack from that of the next run.
    """
    SETTINGS.rpc_manager.clear()
    SETTINGS.outputs.clear()  # a failed run leaves outputs behind that belong to a closed loop
    set_mocks(monitor.mocks, project="neobank", stack=stack, preview=False, monitor=monitor)
    await run_pulumi_func(lambda: _run_file(CHECKOUT / "infra" / "__main__.py"))
    root = get_root_resource()
    assert isinstance(root, Stack)
    outputs = {name: pulumi.Output.from_input(value) for name, value in root.outputs.items()}
    resolved = {name: await output.future() for name, output in outputs.items()}
    return resolved, frozenset([name for name, output in outputs.items() if await output.is_secret()])


def _run_file(path: Path) -> None:
    runpy.run_path(str(path), run_name="__main__")


NOWHERE = """
apiVersion: v1
kind: Config
clusters: [{name: nowhere, cluster: {server: "http://127.0.0.1:9"}}]
users: [{name: anonymous, user: {}}]
contexts: [{name: nowhere, context: {cluster: nowhere, user: anonymous}}]
current-context: nowhere
"""
"""The kubeconfig of a cluster that does not answer."""
