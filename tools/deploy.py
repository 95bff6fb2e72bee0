"""`make up`, `make preview`, `make down`: the engine, its state, the image and the cluster brought together.

python -m tools.deploy --stack dev up|preview|down [the engine's own options]

The checkout stays as it is: state and a CLI that had to be fetched live in .local/, and the image is handed to the
program in the environment.
"""

import argparse
import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Final

import semver
from pulumi.automation import PulumiCommand

from tools import image
from tools.errors import UserError

REPOSITORY: Final = Path(__file__).resolve().parent.parent
LOCAL: Final = REPOSITORY / ".local"
KUBECONFIG: Final = LOCAL / "kubeconfig"
LOCK: Final = REPOSITORY / "infra" / "requirements.txt"
INSTALLED: Final = REPOSITORY / ".venv" / "installed.txt"
IMAGE: Final = "NEOBANK_IMAGE"
PASSPHRASES: Final = ("PULUMI_CONFIG_PASSPHRASE", "PULUMI_CONFIG_PASSPHRASE_FILE")

ENGINE_COMMANDS: Final = {"up": ("up", "--yes"), "preview": ("preview",), "down": ("destroy", "--yes")}


def main() -> None:
    """Do what the first argument says; a user's mistake is one sentence and exit code 1."""
    parser = argparse.ArgumentParser(prog="python -m tools.deploy")
    parser.add_argument("action", choices=ENGINE_COMMANDS)
    parser.add_argument("--stack", required=True)
    parser.add_argument("options", nargs=argparse.REMAINDER, help="handed to the engine as they are")
    arguments = parser.parse_args()
    try:
        sys.exit(run(arguments.action, arguments.stack, arguments.options))
    except UserError as error:
        sys.exit(f"make {arguments.action}: {error}")


def run(action: str, stack: str, options: list[str]) -> int:
    """Run one action of the engine on a stack; gives the engine's exit code. Raises UserError."""
    require_stack_file(stack)
    pulumi = find_pulumi()
    environment = engine_environment(os.environ, stack)
    environment[IMAGE] = os.environ.get(IMAGE) or (image.deliver() if action == "up" else image.reference())

    def engine(*words: str) -> int:
        return subprocess.run([pulumi, *words], cwd=REPOSITORY, env=environment, check=False).returncode

    code = engine("stack", "select", "--create", "--stack", stack) or install_program(engine)
    if code == 0:
        code = engine(*ENGINE_COMMANDS[action], "--stack", stack, *options)
    if action == "up" and code == 0:
        code = engine("stack", "output", "--stack", stack)
        print(how_to_go_on(pulumi, stack, environment), flush=True)
    return code


def install_program(engine: Callable[..., int]) -> int:
    """Make the program's virtual environment, unless it was made from this very lock: that needs no network.

    Gives the engine's exit code. Plugins are left to the engine, which looks on PATH before it downloads one.
    """
    lock = LOCK.read_text(encoding="utf-8")
    if INSTALLED.is_file() and INSTALLED.read_text(encoding="utf-8") == lock:
        return 0
    code = engine("install", "--no-plugins")
    if code == 0:
        INSTALLED.write_text(lock, encoding="utf-8")
    return code


def how_to_go_on(pulumi: str, stack: str, environment: Mapping[str, str]) -> str:
    """Say what this shell needs for the engine's own commands and for the ones among the outputs."""
    names = ("PULUMI_BACKEND_URL", PASSPHRASES[0], "KUBECONFIG")
    missing = [f"{name}={shlex.quote(environment[name])}" for name in names if name in environment.keys() - os.environ]
    exports = [f"  export {' '.join(missing)}"] if missing else []
    show = f"  {pulumi} stack output --stack {stack} --show-secrets"
    return "\n".join(["", "For the commands above, and to see the secrets:", *exports, show])


def require_stack_file(stack: str) -> None:
    """Refuse a stack that nobody has configured. Raises UserError."""
    if not (REPOSITORY / f"Pulumi.{stack}.yaml").is_file():
        known = sorted(file.name.split(".")[1] for file in REPOSITORY.glob("Pulumi.*.yaml"))
        raise UserError(f"there is no Pulumi.{stack}.yaml: STACK= takes one of {', '.join(known)}, or write that file.")


def find_pulumi() -> str:
    """Find the Pulumi CLI on PATH, or install the one that fits the SDK into .local/. Raises UserError."""
    found = shutil.which("pulumi")
    if found:
        return found
    pinned = version("pulumi")
    try:
        return PulumiCommand.install(str(LOCAL / "pulumi" / pinned), semver.VersionInfo.parse(pinned)).command
    except Exception as error:
        raise UserError(
            f"there is no `pulumi` on PATH and version {pinned} could not be downloaded ({one_line(error)}): "
            "install it from pulumi.com/docs/install, or try again with the network."
        ) from error


def engine_environment(given: Mapping[str, str], stack: str) -> dict[str, str]:
    """Give the engine's environment: whatever the user set, and where they said nothing, this checkout's own.

    Raises UserError where there is no cluster, or no passphrase for a stack that is not dev.
    """
    environment = dict(given) | {"PULUMI_SKIP_UPDATE_CHECK": "true"}
    if "PULUMI_BACKEND_URL" not in given:
        state = LOCAL / "pulumi" / "state"
        state.mkdir(parents=True, exist_ok=True)
        environment["PULUMI_BACKEND_URL"] = state.as_uri()
    if not any(name in given for name in PASSPHRASES):
        if stack != "dev":
            raise UserError(f"stack {stack} keeps its secrets under a passphrase: set {' or '.join(PASSPHRASES)}.")
        environment[PASSPHRASES[0]] = ""
    if "KUBECONFIG" not in given:
        if KUBECONFIG.is_file():
            environment["KUBECONFIG"] = str(KUBECONFIG)
        elif not (Path.home() / ".kube" / "config").is_file():
            raise UserError("no cluster is configured: set KUBECONFIG, or make a local one with `make cluster`.")
    return environment


def one_line(error: Exception) -> str:
    """Give an error's last line."""
    return (str(error).strip().splitlines() or [type(error).__name__])[-1]


if __name__ == "__main__":
    main()
