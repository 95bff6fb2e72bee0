"""The bank as the real engine deploys it, from a copy of the program with its own stack and state."""

import json
import os
import signal
import subprocess
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from tests.cluster.deployment import Deployment
from tests.infra.program import copy_program

STACK = "test"
PATIENCE = 400  # seconds
CHANGELESS = ("same", "read", "refresh")


class EngineError(Exception):
    """The engine failed; the message is its whole output."""


@dataclass
class EngineDeployment(Deployment):
    """A stack in its own namespace, applied by the `pulumi` on PATH; its state is in the test's folder."""

    printed: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        self.project.mkdir()
        (self.folder / "backend").mkdir()
        copy_program(self.project)
        self._write_stack_file({})
        self.run("stack", "init", "--no-select")

    @property
    def project(self) -> Path:
        return self.folder / "project"

    def apply(self, **changes: object) -> dict[str, Any]:
        """Change the configuration, run `up`, and return the outputs with secrets in plain text."""
        self._write_stack_file(changes)
        self.run("up", "--yes", "--skip-preview")
        self.outputs = json.loads(self.run("stack", "output", "--json", "--show-secrets", quiet=True))
        return self.outputs

    def destroy(self, *, keep_data: bool = False) -> None:
        """Destroy the stack, or with `keep_data` only what is not protected. Raise EngineError if it fails."""
        self.run("destroy", "--yes", *(["--exclude-protected"] if keep_data else []))

    def planned(self, **changes: object) -> dict[str, set[str]]:
        """Change the configuration, run `preview`, and return the operations by resource."""
        self._write_stack_file(changes)
        steps = json.loads(self.run("preview", "--json"))["steps"]
        found: dict[str, set[str]] = {}
        for step in steps:
            if step["op"] not in CHANGELESS:
                found.setdefault(step["urn"].rpartition("::")[2], set()).add(step["op"])
        return found

    def exported(self, *options: str) -> dict[str, Any]:
        """Return the stack's state."""
        state: dict[str, Any] = json.loads(self.run("stack", "export", *options, quiet=True))
        return state

    def resources(self) -> dict[str, Any]:
        """Return each resource of the state by name, with secrets in plain text."""
        resources = self.exported("--show-secrets")["deployment"].get("resources", [])
        return {resource["urn"].rpartition("::")[2]: resource for resource in resources}

    @property
    def environment(self) -> dict[str, str]:
        """The variables of the engine."""
        return {
            "KUBECONFIG": str(self.kubeconfig),
            "NEOBANK_IMAGE": self.image,
            "PULUMI_BACKEND_URL": (self.folder / "backend").as_uri(),
            "PULUMI_CONFIG_PASSPHRASE": "of a stack that lives for minutes",
            "PULUMI_SKIP_UPDATE_CHECK": "true",
        }

    def plan(self, **changes: object) -> None:
        """Change the configuration only."""
        self._write_stack_file(changes)

    def import_state(self, state: dict[str, Any], folder: Path) -> None:
        """Replace the stack's state."""
        file = folder / "state.json"
        file.write_text(json.dumps(state), encoding="utf-8")
        self.run("stack", "import", "--file", str(file))

    def kill_up(self, condition: Callable[[], bool]) -> None:
        """Run `up`, and kill the engine with all its processes as soon as a condition is true."""
        output = self.folder / "killed.log"
        with output.open("wb") as log:
            engine = subprocess.Popen(
                self._command("up", "--yes", "--skip-preview"),
                cwd=self.project,
                env=os.environ | self.environment,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        try:
            self.until(lambda: condition() or engine.poll() is not None, "the moment to kill the engine")
        finally:
            with suppress(ProcessLookupError):  # it has ended
                os.killpg(engine.pid, signal.SIGKILL)
            engine.wait()
        assert engine.returncode == -signal.SIGKILL, f"the engine ended before it was killed:\n{output.read_text()}"

    @staticmethod
    def _command(*words: str) -> list[str]:
        return ["pulumi", *words, "--stack", STACK, "--non-interactive", "--color=never"]

    def run(self, *words: str, quiet: bool = False) -> str:
        """Run a command of the engine on this stack; return its standard output. Raise EngineError if it fails."""
        done = subprocess.run(
            self._command(*words),
            cwd=self.project,
            env=os.environ | self.environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=PATIENCE,
        )
        if not quiet:
            self.printed.append(done.stdout + done.stderr)
        if done.returncode:
            raise EngineError(f"pulumi {' '.join(words)}\n{done.stdout}{done.stderr}")
        return done.stdout

    def _write_stack_file(self, changes: dict[str, object]) -> None:
        """Write the configuration, and keep the engine's own entries, which describe the encryption of secrets."""
        file = self.project / f"Pulumi.{STACK}.yaml"
        document = yaml.safe_load(file.read_text(encoding="utf-8")) if file.exists() else {}
        config = {f"neobank:{key}": value for key, value in self.configured(changes).items()}
        file.write_text(yaml.safe_dump({**document, "config": config}), encoding="utf-8")
