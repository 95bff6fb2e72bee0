"""`make up`, `make preview`, `make down`: run the Pulumi engine with its state, the image and the cluster.

python -m tools.deploy --stack dev up|preview|down [options of the engine]

No tracked file changes: the state and a downloaded CLI are in .local/, and the program reads the image's reference from
the environment.
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
    """Run the requested action; report a UserError as one sentence, with exit code 1."""
    parser = argparse.ArgumentParser(prog="python -m tools.deploy")
    parser.add_argument("action", choices=ENGINE_COMMANDS)
    parser.add_argument("--stack", required=True)
    parser.add_argument("options", nargs=argparse.REMAINDER, help="passed to the engine unchanged")
    arguments = parser.parse_args()
    try:
        sys.exit(run(arguments.action, arguments.stack, arguments.options))
    except UserError as error:
        sys.exit(f"make {arguments.action}: {error}")


def run(action: str, stack: str, options: list[str], *, before_up: Callable[[], None] = lambda: None) -> int:
    """Run one action of the engine on a stack and return its exit code.

    Raise UserError if something is missing. `before_up` is called when nothing is, before the engine runs.
    """
    require_stack_file(stack)
    pulumi = find_pulumi()
    environment = engine_environment(os.environ, stack)
    environment[IMAGE] = os.environ.get(IMAGE) or (image.deliver() if action == "up" else image.reference())
    before_up()

    def engine(*arguments: str) -> int:
        return subprocess.run([pulumi, *arguments], cwd=REPOSITORY, env=environment, check=False).returncode

    code = engine("stack", "select", "--create", "--stack", stack) or install_program(engine)
    if code == 0:
        code = engine(*ENGINE_COMMANDS[action], "--stack", stack, *options)
    if action == "up" and code == 0:
        code = engine("stack", "output", "--stack", stack)
        print(how_to_go_on(pulumi, stack, environment), flush=True)
    return code


def install_program(engine: Callable[..., int]) -> int:
    """Create the program's virtual environment and return the engine's exit code.

    If it was created from the same lock file, do nothing, so that another deployment needs no network. The engine
    installs plugins itself: it searches PATH before it downloads one.
    """
    lock = LOCK.read_text(encoding="utf-8")
    if INSTALLED.is_file() and INSTALLED.read_text(encoding="utf-8") == lock:
        return 0
    code = engine("install", "--no-plugins")
    if code == 0:
        INSTALLED.write_text(lock, encoding="utf-8")
    return code


def how_to_go_on(pulumi: str, stack: str, environment: Mapping[str, str]) -> str:
    """Return the exports that this shell needs for `pulumi` and for the commands among the outputs."""
    names = ("PULUMI_BACKEND_URL", PASSPHRASES[0], "KUBECONFIG")
    missing = [f"{name}={shlex.quote(environment[name])}" for name in names if name in environment.keys() - os.environ]
    exports = [f"  export {' '.join(missing)}"] if missing else []
    show = f"  {pulumi} stack output --stack {stack} --show-secrets"
    return "\n".join(["", "To run the commands above and to show the secrets:", *exports, show])


def require_stack_file(stack: str) -> None:
    """Raise UserError if the stack has no configuration file."""
    if not (REPOSITORY / f"Pulumi.{stack}.yaml").is_file():
        known = sorted(file.name.split(".")[1] for file in REPOSITORY.glob("Pulumi.*.yaml"))
        raise UserError(
            f"there is no Pulumi.{stack}.yaml: set STACK= to one of {', '.join(known)}, or write that file."
        )


def find_pulumi() -> str:
    """Return the Pulumi CLI on PATH, or install the SDK's version into .local/. Raise UserError if that fails."""
    installed = shutil.which("pulumi")
    if installed:
        return installed
    pinned = version("pulumi")
    try:
        return PulumiCommand.install(str(LOCAL / "pulumi" / pinned), semver.VersionInfo.parse(pinned)).command
    except Exception as error:
        raise UserError(
            f"there is no `pulumi` on PATH and version {pinned} could not be downloaded ({one_line(error)}): "
            "install it as pulumi.com/docs/install describes, or try again with network access."
        ) from error


def engine_environment(given: Mapping[str, str], stack: str) -> dict[str, str]:
    """Return the engine's environment: the user's variables, and this checkout's values for those that are not set.

    Raise UserError if no cluster is configured, or if a stack other than dev has no passphrase.
    """
    environment = dict(given) | {"PULUMI_SKIP_UPDATE_CHECK": "true"}
    if "PULUMI_BACKEND_URL" not in given:
        state = LOCAL / "pulumi" / "state"
        state.mkdir(parents=True, exist_ok=True)
        environment["PULUMI_BACKEND_URL"] = state.as_uri()
    if not any(name in given for name in PASSPHRASES):
        if stack != "dev":
            raise UserError(f"stack {stack} encrypts its secrets with a passphrase: set {' or '.join(PASSPHRASES)}.")
        environment[PASSPHRASES[0]] = ""
    if "KUBECONFIG" not in given:
        if KUBECONFIG.is_file():
            environment["KUBECONFIG"] = str(KUBECONFIG)
        elif not (Path.home() / ".kube" / "config").is_file():
            raise UserError("no cluster is configured: set KUBECONFIG, or create a local cluster with `make cluster`.")
    return environment


def one_line(error: Exception) -> str:
    """Return the last line of an error's message, or its type if the message is empty."""
    return (str(error).strip().splitlines() or [type(error).__name__])[-1]


if __name__ == "__main__":
    main()
