"""Runs kubectl against the local cluster."""

import subprocess
from dataclasses import dataclass
from pathlib import Path

from tools.errors import UserError


@dataclass(frozen=True)
class Kubectl:
    """The program with its kubeconfig, and a cache beside it: it never touches the home directory."""

    program: Path
    kubeconfig: Path

    def run(self, *arguments: str, stdin: str | None = None, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Runs one command and captures what it prints. Raises UserError when it fails, unless check is false."""
        result = subprocess.run(self.command(*arguments), input=stdin, text=True, capture_output=True, check=False)
        if check and result.returncode != 0:
            raise UserError(f"`kubectl {' '.join(arguments)}` failed: {result.stderr.strip()}")
        return result

    def command(self, *arguments: str) -> list[str]:
        """The command line, for a caller that starts the process itself (port-forward)."""
        cache = self.kubeconfig.parent / "kubectl-cache"
        return [str(self.program), f"--kubeconfig={self.kubeconfig}", f"--cache-dir={cache}", *arguments]

    def answers(self) -> bool:
        """Whether the API server says it is ready, within five seconds."""
        return self.run("get", "--raw=/readyz", "--request-timeout=5s", check=False).returncode == 0
