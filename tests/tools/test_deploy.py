"""`make up|preview|down`: the calls of the engine, and one error line for each missing requirement.

The engine is a script on PATH that records its calls; the tests of the real engine are in tests/cluster.
"""

import json
import os
import re
import socket
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import pytest
from pulumi.automation import PulumiCommand

import identity
from tests.tools.programs import Programs
from tools import deploy, image
from tools.cluster import local
from tools.cluster.kubectl import Kubectl
from tools.engine import Engine as PulumiEngine
from tools.errors import UserError
from tools.postgres import REPOSITORY

SELECT = ["stack", "select"]
EXPORT = """
state = folder / "state"
if words[:2] == ["stack", "export"]:
    print(state.read_text() if state.exists() else '{"version": 3, "deployment": {}}')
if words[:2] == ["stack", "import"]:
    (folder / "imported").write_text(Path(words[3]).read_text())
if words[:2] == ["preview", "--json"]:
    print((folder / "plan").read_text())
"""
KUBECTL = """
if "namespace" in words:
    print("uid of this cluster", end="")
if "exec" in words:
    print("12|1234550")
if "--ignore-not-found" in words and "there" in words:
    print("configmap/there")
"""


def resource(kind: str, name: str, **more: object) -> dict[str, object]:
    """Return a Kubernetes object of the state, in the namespace `bank`."""
    type_ = f"kubernetes:core/v1:{kind}"
    where = {} if kind == "Namespace" else {"namespace": "bank"}
    urn = f"urn:pulumi:dev::neobank::{type_}::{name}"
    return {"urn": urn, "type": type_, "inputs": {"metadata": {"name": name, **where}}, **more}


def volume(storage: str = "10Gi", **more: object) -> dict[str, object]:
    inputs = {
        "metadata": {"name": "postgres-pvc", "namespace": "bank"},
        "spec": {"resources": {"requests": {"storage": storage}}},
    }
    return resource("PersistentVolumeClaim", "postgres-pvc", inputs=inputs, **more)


def recorded(uid: str) -> dict[str, object]:
    """Return the resource of the state that records a cluster."""
    urn = f"urn:pulumi:dev::neobank::pulumi:index:Stash::{identity.RECORD}"
    return {"urn": urn, "type": "pulumi:index:Stash", "outputs": {"input": uid, "output": uid}}


class Engine(Programs):
    """A stand-in for the Pulumi CLI."""

    def fail_on(self, word: str) -> None:
        """Let calls with this argument fail; with an empty word, none fail."""
        self.install("pulumi", f"{EXPORT}\nsys.exit({word!r} in words)")

    def set_state(self, *resources: dict[str, object], pending: Sequence[dict[str, object]] = ()) -> None:
        """Let the engine export a state of these resources and unfinished operations."""
        deployment = {"resources": resources, "pending_operations": pending}
        (self.folder / "state").write_text(json.dumps({"version": 3, "deployment": deployment}), encoding="utf-8")

    def set_plan(self, *steps: tuple[str, dict[str, object], dict[str, object] | None]) -> None:
        """Let the engine plan these operations, each with the resource as it is and as it will be."""
        plan = [{"op": op, "urn": old["urn"], "oldState": old, "newState": new} for op, old, new in steps]
        (self.folder / "plan").write_text(json.dumps({"steps": plan}), encoding="utf-8")

    def actions(self) -> list[list[str]]:
        """Return the calls of the engine after it selected the stack and exported its state."""
        return [call.words for call in self.calls("pulumi") if call.words[:2] not in (SELECT, ["stack", "export"])]


@pytest.fixture
def engine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Engine:
    for name in (*deploy.PASSPHRASES, "PULUMI_BACKEND_URL", "NEOBANK_IMAGE"):
        monkeypatch.delenv(name, raising=False)
    engine = Engine(tmp_path)
    engine.fail_on("")
    engine.install("kubectl", KUBECTL)
    monkeypatch.setenv("PATH", f"{engine.path}:{os.environ['PATH']}")
    monkeypatch.setenv("KUBECONFIG", __file__)
    monkeypatch.setattr(local, "is_up", lambda: False)
    monkeypatch.setattr(deploy, "LOCAL", tmp_path)
    monkeypatch.setattr(deploy, "INSTALLED", tmp_path / "installed.txt")
    return engine


def test_up_passes_the_image_and_prints_the_outputs(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(image, "deliver", lambda: "neobank:built")
    assert deploy.prepare("dev").run("up", ["--diff"]) == 0
    calls = engine.calls("pulumi")
    assert [call.words for call in calls] == [
        ["stack", "select", "--create", "--stack", "dev"],
        ["stack", "export", "--stack", "dev"],
        ["install", "--no-plugins"],
        ["up", "--yes", "--stack", "dev", "--diff"],
        ["stack", "output", "--stack", "dev"],
    ]
    expected = {
        "PULUMI_BACKEND_URL": (engine.folder / "pulumi" / "state").as_uri(),
        "PULUMI_CONFIG_PASSPHRASE": "",
        "KUBECONFIG": __file__,
    }
    assert [{name: call.environment[name] for name in expected} for call in calls] == [expected] * 5
    assert {call.environment["NEOBANK_IMAGE"] for call in calls[2:]} == {"neobank:built"}


@pytest.mark.parametrize("options", [[], ["--diff"], ["--target", "urn:pulumi:1", "--", "--stack"]])
def test_further_options_are_passed_to_the_engine_after_the_action(
    engine: Engine, monkeypatch: pytest.MonkeyPatch, options: list[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["tools.deploy", "--stack", "dev", "preview", *options])
    with pytest.raises(SystemExit) as ended:
        deploy.main()
    assert ended.value.code == 0
    assert engine.actions()[-1] == ["preview", "--stack", "dev", *options]


@pytest.mark.parametrize(("action", "words"), [("preview", ["preview"]), ("down", ["destroy", "--yes"])])
def test_preview_and_down_do_not_build_the_image(
    engine: Engine, monkeypatch: pytest.MonkeyPatch, action: str, words: list[str]
) -> None:
    monkeypatch.setattr(image, "deliver", lambda: pytest.fail("nothing is built for this"))
    assert deploy.prepare("dev").run(action, []) == 0
    last = engine.calls("pulumi")[-1]
    assert last.words == [*words, "--stack", "dev"]
    assert last.environment["NEOBANK_IMAGE"] == image.reference()


def test_a_given_image_is_used_unchanged(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NEOBANK_IMAGE", "registry.example/neobank:1")
    monkeypatch.setattr(image, "deliver", lambda: pytest.fail("nothing is built for this"))
    assert deploy.prepare("dev").run("up", []) == 0
    assert engine.calls("pulumi")[-1].environment["NEOBANK_IMAGE"] == "registry.example/neobank:1"


def test_the_program_is_installed_once_for_each_lock_file(
    engine: Engine, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    lock = tmp_path / "requirements.txt"
    monkeypatch.setattr(deploy, "LOCK", lock)
    lock.write_text("one")
    engine.fail_on("install")
    deploy.prepare("dev").run("preview", [])
    engine.fail_on("")
    for content in ("one", "one", "two", "two"):
        lock.write_text(content)
        assert deploy.prepare("dev").run("preview", []) == 0
    assert [words[0] for words in engine.actions()] == [
        "install",
        *("install", "preview"),
        "preview",
        *("install", "preview"),
        "preview",
    ]


@pytest.mark.usefixtures("engine")
def test_up_prints_the_missing_exports_and_the_next_command() -> None:
    environment = deploy.engine_environment(os.environ, "dev")
    printed = deploy.how_to_go_on(PulumiEngine("pulumi", environment, REPOSITORY, "dev"))
    assert f"export PULUMI_BACKEND_URL={environment['PULUMI_BACKEND_URL']} PULUMI_CONFIG_PASSPHRASE=''\n" in printed
    assert "KUBECONFIG" not in printed
    assert printed.endswith("  pulumi stack output --show-secrets --stack dev")


@pytest.mark.parametrize("failing", ["install", "up", "output"])
def test_a_failed_step_ends_the_command(engine: Engine, monkeypatch: pytest.MonkeyPatch, failing: str) -> None:
    monkeypatch.setenv("NEOBANK_IMAGE", "registry.example/neobank:1")
    engine.fail_on(failing)
    assert deploy.prepare("dev").run("up", []) != 0
    assert failing in engine.actions()[-1]


@pytest.mark.parametrize("failing", ["select", "export"])
def test_a_stack_that_cannot_be_read_is_reported(engine: Engine, failing: str) -> None:
    engine.fail_on(failing)
    with pytest.raises(UserError, match="its output above has the reason"):
        deploy.prepare("dev").run("up", [])
    assert engine.actions() == []


ACTIONS = pytest.mark.parametrize("action", ["up", "preview", "down"])


@ACTIONS
def test_another_cluster_than_the_stacks_is_refused_and_nothing_is_changed(engine: Engine, action: str) -> None:
    engine.set_state(recorded("uid of another cluster"))
    with pytest.raises(UserError, match=r"stack dev belongs to the cluster .* uid of another cluster, .* this cluster"):
        deploy.prepare("dev").run(action, [])
    assert engine.actions() == []


def test_the_stacks_own_cluster_is_accepted(engine: Engine) -> None:
    engine.set_state(recorded("uid of this cluster"))
    assert deploy.prepare("dev").run("preview", []) == 0
    assert engine.actions()[-1] == ["preview", "--stack", "dev"]


@ACTIONS
def test_a_cluster_that_does_not_answer_is_refused_with_the_reason(engine: Engine, action: str) -> None:
    engine.install("kubectl", "print('no route to the cluster', file=sys.stderr)\nsys.exit(1)")
    with pytest.raises(UserError, match=rf"{re.escape(__file__)} cannot be read \(no route to the cluster\)"):
        deploy.prepare("dev").run(action, [])
    assert engine.calls("pulumi") == []


@ACTIONS
def test_a_kubeconfig_that_does_not_exist_is_refused(
    engine: Engine, monkeypatch: pytest.MonkeyPatch, action: str
) -> None:
    monkeypatch.setenv("KUBECONFIG", "/nowhere/kubeconfig")
    with pytest.raises(UserError, match="KUBECONFIG is /nowhere/kubeconfig, which does not exist"):
        deploy.prepare("dev").run(action, [])
    assert engine.calls() == []


def test_the_context_of_the_stack_file_is_asked(
    engine: Engine, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    file = tmp_path / "Pulumi.dev.yaml"
    file.write_text("config:\n  neobank:kubeContext: event\n", encoding="utf-8")
    monkeypatch.setattr(deploy, "stack_file", lambda _: file)
    deploy.prepare("dev").run("preview", [])
    assert engine.calls("kubectl")[0].words[:3] == ["--context=event", "get", "namespace"]


def test_no_image_is_built_for_another_cluster_than_the_local_one(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(local, "is_up", lambda: True)
    monkeypatch.setattr(Kubectl, "uid", lambda *_: "uid of the local cluster")
    monkeypatch.setattr(image, "deliver", lambda: pytest.fail("the other cluster cannot pull it"))
    with pytest.raises(UserError, match="push the image to a registry and set NEOBANK_IMAGE"):
        deploy.prepare("dev").run("up", [])
    assert engine.actions() == []


@pytest.fixture
def deployed(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> Engine:
    """A stack with a namespace and a volume, neither protected, whose next `up` changes nothing."""
    monkeypatch.setenv("NEOBANK_IMAGE", "registry.example/neobank:1")
    engine.set_state(resource("Namespace", "bank"), volume())
    engine.set_plan(("same", resource("Namespace", "bank"), resource("Namespace", "bank")))
    return engine


@pytest.mark.parametrize("operation", ["delete", "replace", "create-replacement", "delete-replaced"])
@pytest.mark.parametrize("kind", ["namespace", "volume"])
def test_a_plan_that_destroys_data_names_the_money_and_needs_the_stacks_name(
    deployed: Engine, operation: str, kind: str
) -> None:
    lost = {"namespace": resource("Namespace", "bank"), "volume": volume()}[kind]
    deployed.set_plan((operation, lost, None))
    for agreed in ("", "prod", "yes"):
        with pytest.raises(UserError, match=rf"delete the {kind} .*¤12,345\.50 of 12 players: .*make up .*YES=dev"):
            deploy.prepare("dev").run("up", [], agreed=agreed)
    assert not [words for words in deployed.actions() if words[0] == "up"]
    assert deploy.prepare("dev").run("up", [], agreed="dev") == 0
    assert deployed.actions()[-2][0] == "up"


@pytest.mark.parametrize(
    "step",
    [
        ("update", volume(), volume("20Gi")),
        ("update", volume("10Gi"), volume("10240Mi")),
        ("delete-replaced", volume(retainOnDelete=True), None),
        ("replace", volume(external=True), volume()),
        ("delete", resource("ConfigMap", "there"), None),
        ("same", volume(), volume()),
    ],
    ids=["grows", "another unit", "retained", "of another stack", "not data", "same"],
)
def test_a_plan_that_keeps_the_data_needs_no_agreement(
    deployed: Engine, step: tuple[str, dict[str, object], dict[str, object] | None]
) -> None:
    deployed.set_plan(step)
    assert deploy.prepare("dev").run("up", []) == 0


def test_a_volume_that_would_shrink_is_refused_even_with_agreement(deployed: Engine) -> None:
    deployed.set_plan(("update", volume("10Gi"), volume("9000Mi")))
    with pytest.raises(UserError, match=r"postgres-pvc has 10Gi and cannot shrink to 9000Mi"):
        deploy.prepare("dev").run("up", [], agreed="dev")
    assert not [words for words in deployed.actions() if words[0] == "up"]


def test_data_that_cannot_be_counted_are_not_taken_for_none(deployed: Engine) -> None:
    deployed.install("kubectl", f"{KUBECTL}\nsys.stderr.write('no such pod')\nsys.exit('exec' in words)")
    deployed.set_plan(("delete", volume(), None))
    with pytest.raises(UserError, match=r"money of players that could not be counted \(no such pod\)"):
        deploy.prepare("dev").run("up", [])


def test_a_stack_that_cannot_be_planned_is_not_changed(deployed: Engine) -> None:
    deployed.fail_on("preview")
    assert deploy.prepare("dev").run("up", ["--yes", "--target", "urn"]) != 0
    assert deployed.actions()[-1] == ["preview", "--stack", "dev", "--target", "urn"]


def test_down_names_the_money_and_needs_the_stacks_name(deployed: Engine) -> None:
    with pytest.raises(
        UserError, match=r"the namespace bank and the volume postgres-pvc .*¤12,345\.50 of 12 players.*make down"
    ):
        deploy.prepare("dev").run("down", [], agreed="prod")
    assert "destroy" not in [words[0] for words in deployed.actions()]
    assert deploy.prepare("dev").run("down", [], agreed="dev") == 0
    assert deployed.actions()[-1] == ["destroy", "--yes", "--stack", "dev"]


def test_down_needs_no_agreement_where_the_engine_protects_the_data(deployed: Engine) -> None:
    deployed.set_state(resource("Namespace", "bank", protect=True), volume(protect=True))
    assert deploy.prepare("dev").run("down", ["--exclude-protected"]) == 0


@pytest.fixture
def locked(engine: Engine, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[[int], Path]:
    """Return a function that locks the stack for a process of this machine."""
    monkeypatch.setenv("PULUMI_BACKEND_URL", tmp_path.as_uri())
    monkeypatch.setenv("NEOBANK_IMAGE", "registry.example/neobank:1")
    engine.set_state()

    def lock(process: int) -> Path:
        file = tmp_path / ".pulumi" / "locks" / "organization" / "neobank" / "dev" / "1.json"
        file.parent.mkdir(parents=True)
        content = {"pid": process, "username": "neo", "hostname": socket.gethostname(), "timestamp": "2026-11-27"}
        file.write_text(json.dumps(content), encoding="utf-8")
        return file

    return lock


@pytest.mark.parametrize("action", ["up", "down"])
def test_a_locked_stack_is_refused_with_the_lock_and_the_command_that_ends_it(
    engine: Engine, locked: Callable[[int], Path], action: str
) -> None:
    file = locked(os.getpid())
    with pytest.raises(
        UserError, match=rf"{file}, made by process {os.getpid()} of neo .*wait until it ends"
    ) as stopped:
        deploy.prepare("dev").run(action, [])
    assert str(stopped.value).endswith("pulumi cancel --yes --stack dev")
    assert engine.actions() == []
    assert deploy.prepare("dev").run("preview", []) == 0


@pytest.mark.usefixtures("engine")
def test_the_lock_of_a_process_that_has_ended_is_called_so(locked: Callable[[int], Path]) -> None:
    ended = subprocess.Popen(["true"])
    ended.wait()
    locked(ended.pid)
    with pytest.raises(UserError, match="that process no longer exists, so remove the lock"):
        deploy.prepare("dev").run("up", [])


@pytest.mark.parametrize("action", ["up", "down"])
def test_an_interrupted_change_is_settled_first_and_what_it_created_is_adopted(
    engine: Engine, monkeypatch: pytest.MonkeyPatch, action: str
) -> None:
    monkeypatch.setenv("NEOBANK_IMAGE", "registry.example/neobank:1")
    created, absent = resource("ConfigMap", "there"), resource("Secret", "absent")
    password = {
        "urn": "urn:pulumi:dev::neobank::random::password",
        "type": "random:index/randomPassword:RandomPassword",
    }
    pending: list[dict[str, object]] = [{"type": "creating", "resource": it} for it in (created, absent, password)]
    before, deleted = dict(created), {**created, "pendingReplacement": True}
    engine.set_state(
        before, deleted, pending=[*pending, {"type": "updating", "resource": resource("ConfigMap", "other")}]
    )
    assert deploy.prepare("dev").run(action, []) == 0
    assert [words[0] for words in engine.actions()[1:3]] == ["stack", "refresh"]
    assert engine.actions()[3][0] in {"up", "destroy"}
    imported = json.loads((engine.folder / "imported").read_text(encoding="utf-8"))["deployment"]
    assert imported["resources"] == [
        {**before, "delete": True},
        {**created, "id": "bank/there", "outputs": created["inputs"]},
    ]
    assert imported["pending_operations"] == []


def test_an_interrupted_creation_is_not_forgotten_if_the_cluster_cannot_be_asked(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NEOBANK_IMAGE", "registry.example/neobank:1")
    engine.install("kubectl", f"{KUBECTL}\nsys.exit('--ignore-not-found' in words)")
    engine.set_state(pending=[{"type": "creating", "resource": resource("ConfigMap", "there")}])
    with pytest.raises(UserError, match="kubectl get ConfigMap there"):
        deploy.prepare("dev").run("up", [])
    assert [words[0] for words in engine.actions()] == ["install"]


def test_an_unknown_stack_is_rejected_with_the_known_ones(engine: Engine) -> None:
    with pytest.raises(UserError, match=r"no Pulumi\.nowhere\.yaml.*dev"):
        deploy.prepare("nowhere").run("up", [])
    assert engine.calls() == []


def without(*names: str, **more: str) -> Mapping[str, str]:
    return {name: value for name, value in os.environ.items() if name not in names} | more


def test_a_stack_other_than_dev_needs_a_passphrase() -> None:
    with pytest.raises(UserError, match="PULUMI_CONFIG_PASSPHRASE"):
        deploy.engine_environment(without(*deploy.PASSPHRASES, KUBECONFIG="given"), "prod")
    given = deploy.engine_environment(
        without(*deploy.PASSPHRASES, KUBECONFIG="given", PULUMI_CONFIG_PASSPHRASE_FILE="f"), "prod"
    )
    assert "PULUMI_CONFIG_PASSPHRASE" not in given


def test_the_users_own_backend_and_cluster_take_precedence() -> None:
    given = without(PULUMI_BACKEND_URL="s3://state", KUBECONFIG="mine")
    made = deploy.engine_environment(given, "dev")
    assert (made["PULUMI_BACKEND_URL"], made["KUBECONFIG"]) == ("s3://state", "mine")


def test_the_local_kubeconfig_precedes_that_of_the_home_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Path, "home", lambda: tmp_path)
    monkeypatch.setattr(deploy, "KUBECONFIG", tmp_path / "local")
    with pytest.raises(UserError, match="make cluster"):
        deploy.engine_environment(without("KUBECONFIG"), "dev")
    (tmp_path / ".kube").mkdir()
    (tmp_path / ".kube" / "config").touch()
    assert "KUBECONFIG" not in deploy.engine_environment(without("KUBECONFIG"), "dev")
    (tmp_path / "local").touch()
    assert deploy.engine_environment(without("KUBECONFIG"), "dev")["KUBECONFIG"] == str(tmp_path / "local")


def test_a_failed_download_of_the_cli_is_one_line(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def fail(root: str, pinned: object) -> None:
        raise OSError(f"no network\nfor {pinned} in {root}")

    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(PulumiCommand, "install", fail)
    with pytest.raises(
        UserError, match=r"no `pulumi` on PATH and version \d+\.\d+\.\d+ could not be downloaded"
    ) as failed:
        deploy.find_pulumi()
    assert "\n" not in str(failed.value)


def test_make_prints_an_error_as_one_line() -> None:
    command = [sys.executable, "-m", "tools.deploy", "--stack", "nowhere", "up"]
    result = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False)
    assert result.returncode == 1
    assert result.stderr.startswith("make up: there is no Pulumi.nowhere.yaml")
    assert result.stderr.count("\n") == 1
