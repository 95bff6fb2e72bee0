"""Run kubectl against the local cluster."""

import subprocess
from dataclasses import dataclass
from pathlib import Path

from tools.errors import UserError


@dataclass(frozen=True)
class Kubectl:
    """The program, its kubeconfig, and a cache beside that. It never writes to the home directory."""

    program: Path
    kubeconfig: Path

    def run(self, *arguments: str, stdin: str | None = None, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Run a command and capture its output. Raise UserError if it fails, unless `check` is false."""
        result = subprocess.run(self.command(*arguments), input=stdin, text=True, capture_output=True, check=False)
        if check and result.returncode != 0:
            raise UserError(f"`kubectl {' '.join(arguments)}` failed: {result.stderr.strip()}")
        return result

    def command(self, *arguments: str) -> list[str]:
        """Return the command line, for a caller that starts the process itself (port-forward)."""
        cache = self.kubeconfig.parent / "kubectl-cache"
        return [str(self.program), f"--kubeconfig={self.kubeconfig}", f"--cache-dir={cache}", *arguments]

    def answers(self) -> bool:
        """Return whether the API server reports within five seconds that it is ready."""
        return self.run("get", "--raw=/readyz", "--request-timeout=5s", check=False).returncode == 0

    def uid(self, namespace: str) -> str:
        """Return the uid of a namespace. Raise UserError if there is none."""
        return self.run("get", "namespace", namespace, "--output=jsonpath={.metadata.uid}").stdout.strip()
