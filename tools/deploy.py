"""`make up`, `make preview`, `make down`: run the Pulumi engine with its state, the image and the cluster.

python -m tools.deploy --stack dev [--yes dev] up|preview|down [options of the engine]

No tracked file changes: the state and a downloaded CLI are in .local/, and the program reads the image's reference from
the environment.
"""

import argparse
import os
import shlex
import shutil
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Final

import semver
from pulumi.automation import PulumiCommand

from tools import image
from tools.cluster import local
from tools.data import WORDS, destroyed_by_destroy, destroyed_by_plan, require_agreement, require_growth
from tools.engine import Engine, State
from tools.errors import UserError
from tools.target import Target

# The Pulumi program's own module compares clusters. Its folder is not a package, because the engine runs it as is.
sys.path.append(str(Path(__file__).resolve().parent.parent / "infra"))
import identity

REPOSITORY: Final = Path(__file__).resolve().parent.parent
LOCAL: Final = REPOSITORY / ".local"
KUBECONFIG: Final = LOCAL / "kubeconfig"
LOCK: Final = REPOSITORY / "infra" / "requirements.txt"
INSTALLED: Final = REPOSITORY / ".venv" / "installed.txt"
IMAGE: Final = "NEOBANK_IMAGE"
PASSPHRASES: Final = ("PULUMI_CONFIG_PASSPHRASE", "PULUMI_CONFIG_PASSPHRASE_FILE")

REFRESH: Final = ("refresh", "--yes", "--skip-preview")
ONLY_FOR_UP: Final = ("--yes", "-y", "--skip-preview", "-f", "--diff", "--continue-on-error")
"""Options of `up` that a preview as JSON does not have, or that do not change the plan."""
ENGINE_COMMANDS: Final = {"up": ("up", "--yes"), "preview": ("preview",), "down": ("destroy", "--yes")}


def main() -> None:
    """Run the requested action; report a UserError as one sentence, with exit code 1."""
    parser = argparse.ArgumentParser(prog="python -m tools.deploy")
    parser.add_argument("action", choices=ENGINE_COMMANDS)
    parser.add_argument("--stack", required=True)
    parser.add_argument("--yes", default="", metavar="STACK", help="the stack whose data may be deleted")
    parser.add_argument("options", nargs=argparse.REMAINDER, help="passed to the engine unchanged")
    arguments = parser.parse_args()
    try:
        sys.exit(prepare(arguments.stack).run(arguments.action, arguments.options, agreed=arguments.yes))
    except UserError as error:
        sys.exit(f"make {arguments.action}: {error}")


def prepare(stack: str) -> "Deployment":
    """Find the engine, the stack's state and its cluster, and change nothing.

    Raise UserError if something is missing, or if the cluster does not answer or is not the stack's.
    """
    require_stack_file(stack)
    environment = engine_environment(os.environ, stack)
    engine = Engine(find_pulumi(), environment, REPOSITORY, stack)
    target = Target.of(stack_file(stack), environment)
    live = target.uid(identity.NAMESPACE)
    if engine.run("stack", "select", "--create", "--stack", stack) != 0:
        raise UserError(f"the engine cannot select the stack {stack}: its output above has the reason.")
    state = engine.state()
    recorded = state.recorded(identity.RECORD)
    if recorded:
        try:
            identity.require_same(stack, recorded, live)
        except identity.WrongClusterError as error:
            command = f"  {engine.paste(*identity.FORGET)}"
            raise UserError("\n".join([str(error), *exports(environment), command])) from error
    return Deployment(engine, target, state, live)


@dataclass(frozen=True)
class Deployment:
    """One stack, ready for an action of the engine."""

    engine: Engine
    target: Target
    state: State
    cluster: str
    """The uid that identifies the cluster."""

    def run(
        self, action: str, options: list[str], agreed: str = "", *, before_up: Callable[[], None] = lambda: None
    ) -> int:
        """Run one action and return the engine's exit code; data are lost only if `agreed` is the stack's name.

        Raise UserError if the action must not or cannot run. `before_up` is called when nothing is missing, before the
        engine plans.
        """
        if action != "preview":
            self.require_unlocked()
        engine = replace(self.engine, environment={**self.engine.environment, IMAGE: self._image(action)})
        code = install_program(engine.run)
        if action != "preview":
            code = code or self._settle(engine)
        if code:
            return code
        before_up()
        state = engine.state() if self.state.interrupted else self.state
        if action == "down":
            require_agreement(action, engine.stack, destroyed_by_destroy(state), self.target, agreed)
        if action == "up":
            code = self._require_safe_plan(engine, state, options, agreed)
        code = code or engine.run(*ENGINE_COMMANDS[action], "--stack", engine.stack, *options)
        return code or (self._finish(engine) if action == "up" else 0)

    def require_unlocked(self) -> None:
        """Raise UserError, with the command that removes the lock, if a process has locked the state."""
        lock = self.engine.lock()
        if lock is None:
            return
        condition = "that process no longer exists, so" if lock.stale else "wait until it ends; if it no longer exists,"
        remove = "\n".join([*exports(self.engine.environment), f"  {self.engine.paste('cancel', '--yes')}"])
        raise UserError(f"the state is locked by {lock}: {condition} remove the lock with\n{remove}")

    def _settle(self, engine: Engine) -> int:
        """Refresh the state if a change was interrupted, adopt what it created, and return the exit code.

        The engine records neither what an interrupted change reached nor the objects that it created last.
        """
        if not self.state.interrupted:
            return 0
        print("The last change was interrupted: the state is read from the cluster again.", flush=True)
        found = [it for it in self.state.unfinished if it.kind and self.target.exists(it.kind, it.identity)]
        return engine.adopt(found) or engine.run(*REFRESH, "--stack", engine.stack)

    def _require_safe_plan(self, engine: Engine, state: State, options: list[str], agreed: str) -> int:
        """Raise UserError if `up` would shrink the volume, or delete data without agreement.

        Return the engine's exit code, after it has said why if it cannot plan. A new stack has no data.
        """
        if not any(it.type in WORDS for it in state.resources):
            return 0
        options = [it for it in options if it not in ONLY_FOR_UP]
        plan = engine.plan(*options)
        if plan is None:
            return engine.run("preview", "--stack", engine.stack, *options) or 1
        require_growth(plan)
        require_agreement("up", engine.stack, destroyed_by_plan(plan), self.target, agreed)
        return 0

    def _image(self, action: str) -> str:
        """Return the image that the environment names, or this checkout's, which `up` builds for the local cluster."""
        given = os.environ.get(IMAGE)
        if given:
            return given
        if action != "up":
            return image.reference()
        if local.is_up() and local.kubectl().uid(identity.NAMESPACE) != self.cluster:
            raise UserError(
                "the kubeconfig does not lead to this checkout's local cluster, and only that gets an image from here: "
                f"push the image to a registry and set {IMAGE}."
            )
        return image.deliver()

    @staticmethod
    def _finish(engine: Engine) -> int:
        code = engine.run("stack", "output", "--stack", engine.stack)
        print(how_to_go_on(engine), flush=True)
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


def how_to_go_on(engine: Engine) -> str:
    """Return the exports that this shell needs for `pulumi` and for the commands among the outputs."""
    show = engine.paste("stack", "output", "--show-secrets")
    return "\n".join(
        ["", "To run the commands above and to show the secrets:", *exports(engine.environment), f"  {show}"]
    )


def exports(environment: Mapping[str, str]) -> list[str]:
    """Return the line that exports those of the engine's variables which the user's shell lacks, if it lacks any."""
    names = ("PULUMI_BACKEND_URL", PASSPHRASES[0], "KUBECONFIG")
    missing = [f"{name}={shlex.quote(environment[name])}" for name in names if name in environment.keys() - os.environ]
    return [f"  export {' '.join(missing)}"] if missing else []


def stack_file(stack: str) -> Path:
    """Return the path of a stack's configuration file."""
    return REPOSITORY / f"Pulumi.{stack}.yaml"


def require_stack_file(stack: str) -> None:
    """Raise UserError if the stack has no configuration file."""
    if not stack_file(stack).is_file():
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
