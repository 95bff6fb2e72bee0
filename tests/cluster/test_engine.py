"""Behaviour of the real engine: previews, refreshes, replacements, protection, its state.

The tests share one bank and run in this order; each except the last leaves it serving.
"""

import base64
import copy
import json
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from tests.absence import NEEDS_ENGINE
from tests.cluster.deployment import APPLICATION, DATABASE, MIGRATION, SMALL, other_name, standing
from tests.cluster.engine import STACK, EngineDeployment, EngineError
from tests.cluster.kubectl import KubectlError, Object
from tests.infra.program import NOWHERE
from tools import deploy, drift
from tools.errors import UserError

pytestmark = NEEDS_ENGINE

NAMESPACE = "neobank-engine"
GENERATED = (
    "owner-password",
    "neobank_0-password",
    "neobank_1-password",
    "backup-password",
    "metrics-password",
    "secret-key",
    "admin-password",
)


@pytest.fixture(scope="module")
def bank(cluster: Path, service_image: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[EngineDeployment]:
    """The bank, deployed by the engine to an empty namespace."""
    bank = EngineDeployment(NAMESPACE, service_image, cluster, tmp_path_factory.mktemp("engine"))
    with standing(bank):
        yield bank


def live(bank: EngineDeployment, kind: str, name: str) -> Object:
    found = bank.kubectl.get(kind, bank.namespace, name)
    assert found is not None, f"there is no {kind} {name}"
    return found


def uids(bank: EngineDeployment, kind: str) -> dict[str, str]:
    return {it["metadata"]["name"]: it["metadata"]["uid"] for it in bank.kubectl.list(kind, bank.namespace)}


def assert_kept(bank: EngineDeployment, name: str) -> None:
    """Assert that a player can log in and has the starting money, and that the books agree."""
    with bank.reached() as reached:
        assert reached.balance(reached.log_in(name, "password of " + name)) == 1000
    bank.assert_books_agree()


def test_a_new_stack_serves_players(bank: EngineDeployment) -> None:
    with bank.reached() as reached:
        neo, trinity = reached.join("Neo"), reached.join("Trinity")
        assert reached.pay(neo, trinity, 12.34)[0] == 201
        assert (reached.balance(neo), reached.balance(trinity)) == (987.66, 1012.34)
        reached.log_in(bank.outputs["adminName"], bank.outputs["adminPassword"])
    assert bank.log_in(bank.outputs["databaseUrl"]) == bank.outputs["databaseUser"]
    bank.assert_books_agree()


@pytest.mark.parametrize(
    "command", [["preview"], ["refresh", "--yes"], ["up", "--yes", "--skip-preview"]], ids=" ".join
)
def test_an_unchanged_stack_changes_nothing(bank: EngineDeployment, command: list[str]) -> None:
    before = bank.described()
    bank.run(*command, "--expect-no-changes")
    assert bank.described() == before


def test_no_secret_is_readable_in_the_state_the_outputs_or_the_log(bank: EngineDeployment) -> None:
    made = {name: it["outputs"]["result"] for name, it in bank.resources().items() if "RandomPassword" in it["type"]}
    assert made.keys() == set(GENERATED)
    secrets = [json.loads(it["plaintext"]) if isinstance(it, dict) else it for it in made.values()]
    assert len(set(secrets)) == len(GENERATED)
    readable = [json.dumps(bank.exported()), *bank.printed]
    for secret in secrets:
        assert len(secret) == 32
        for form in (secret, base64.b64encode(secret.encode()).decode()):
            assert not any(form in text for text in readable)
    outputs = json.loads(bank.run("stack", "output", "--json"))
    hidden = {name for name, value in outputs.items() if value == "[secret]"}
    assert hidden == {"adminPassword", "databasePassword", "databaseUrl"}


@contextmanager
def another_address(bank: EngineDeployment, folder: Path) -> Iterator[Path]:
    """Yield a kubeconfig in which the same cluster has another address, context and user."""
    proxy = subprocess.Popen(bank.kubectl.command("proxy", "--port=0"), stdout=subprocess.PIPE, text=True)
    try:
        assert proxy.stdout is not None
        address = proxy.stdout.readline().split()[-1]  # Starting to serve on 127.0.0.1:40123
        document = {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "moved", "cluster": {"server": f"http://{address}"}}],
            "users": [{"name": "nobody", "user": {}}],
            "contexts": [{"name": "elsewhere", "context": {"cluster": "moved", "user": "nobody"}}],
            "current-context": "elsewhere",
        }
        kubeconfig = folder / "kubeconfig"
        kubeconfig.write_text(yaml.safe_dump(document), encoding="utf-8")
        yield kubeconfig
    finally:
        proxy.terminate()
        proxy.communicate()


def test_another_address_of_the_same_cluster_replaces_nothing(bank: EngineDeployment, tmp_path: Path) -> None:
    """Another technician's kubeconfig has other names for the cluster, and the first technician's file is missing."""
    own = bank.kubeconfig
    assert str(own) not in json.dumps(bank.exported("--show-secrets"))
    with another_address(bank, tmp_path) as moved:
        bank.kubeconfig = moved
        try:
            bank.run("refresh", "--yes", "--expect-no-changes")
            assert bank.planned() == {}
            assert bank.planned(kubeContext="elsewhere") == {"cluster": {"update"}}
        finally:
            bank.kubeconfig = own
            bank.config.pop("kubeContext", None)


def test_a_changed_setting_is_updated_in_place(bank: EngineDeployment) -> None:
    before = uids(bank, "configmap")
    busier = {**SMALL, "workers": 1}
    assert bank.planned(application=busier) == {"neobank-config": {"update"}, "neobank-deployment": {"update"}}
    bank.apply()
    assert uids(bank, "configmap") == before
    container = bank.await_pod(APPLICATION)["metadata"]["name"]
    assert bank.inside(f"pod/{container}", "printenv", "WEB_WORKERS").strip() == "1"


def test_a_rotated_password_updates_its_readers_and_keeps_the_data(bank: EngineDeployment) -> None:
    with bank.reached() as reached:
        reached.join("Rotated")
    before = {kind: uids(bank, kind) for kind in ("secret", "pvc", "deployment")}
    old, (migration,) = bank.outputs["databaseUrl"], bank.kubectl.list("job", bank.namespace, MIGRATION)
    planned = bank.planned(rotation={"application": {"number": 2}})
    assert planned.pop("neobank_1-password") >= {"replace"}
    readers = ("postgres-secret", "postgres-deployment", "neobank-secret", "neobank-deployment")
    closing = ("neobank-retirement", "neobank-db-retire")
    assert planned == {name: {"update"} for name in readers} | {name: {"create"} for name in closing}
    new = bank.apply()["databaseUrl"]
    assert {kind: uids(bank, kind) for kind in before} == before
    assert bank.kubectl.list("job", bank.namespace, MIGRATION)[0]["metadata"]["uid"] == migration["metadata"]["uid"]
    assert bank.log_in(new) == bank.outputs["databaseUser"] == "neobank_1"
    with pytest.raises(KubectlError, match="password authentication failed"):
        bank.log_in(old)
    assert_kept(bank, "Rotated")


WITH_THE_IMAGE = {"neobank-db-init", "neobank-deployment", "neobank-db-retire", "neobank-expire", "neobank-figures"}


def test_a_new_image_runs_the_migration_again_and_rolls_the_pods(bank: EngineDeployment) -> None:
    with bank.reached() as reached:
        reached.join("Rolled")
    (before,), database = bank.kubectl.list("job", bank.namespace, MIGRATION), bank.pod(DATABASE)
    bank.image = other_name(bank.image)
    assert bank.planned().keys() == WITH_THE_IMAGE
    bank.apply()
    (job,) = bank.kubectl.list("job", bank.namespace, MIGRATION)
    assert job["metadata"]["uid"] != before["metadata"]["uid"]
    assert bank.await_pod(APPLICATION)["spec"]["containers"][0]["image"] == bank.image
    assert bank.pod(DATABASE)["metadata"]["uid"] == database["metadata"]["uid"]
    assert_kept(bank, "Rolled")


def test_a_failed_migration_leaves_the_pods_and_can_be_repeated(bank: EngineDeployment) -> None:
    """The engine sees no difference between the second attempt and the first."""
    with bank.reached() as reached:
        reached.join("Unmigrated")
    before = live(bank, "deployment", "neobank-deployment")["metadata"]
    bank.image = other_name(bank.image)
    bank.as_superuser("ALTER ROLE neobank_owner SET default_transaction_read_only = on")
    try:
        with pytest.raises(EngineError, match=r"neobank: .*cannot execute .* in a read-only transaction"):
            bank.apply()
    finally:
        bank.as_superuser("ALTER ROLE neobank_owner RESET default_transaction_read_only")
    after = live(bank, "deployment", "neobank-deployment")["metadata"]
    assert (after["uid"], after["generation"]) == (before["uid"], before["generation"])
    assert_kept(bank, "Unmigrated")
    bank.apply()
    assert bank.await_pod(APPLICATION)["spec"]["containers"][0]["image"] == bank.image
    assert [pod["status"]["phase"] for pod in bank.pods(MIGRATION)] == ["Succeeded"]
    assert_kept(bank, "Unmigrated")


def test_a_wrong_setting_fails_before_the_first_resource(bank: EngineDeployment, tmp_path: Path) -> None:
    fresh = replace(bank, folder=tmp_path, config={"postgres": {"major": 15}, "namespce": "typo"}, printed=[])
    for command in (["preview"], ["up", "--yes", "--skip-preview"]):
        with pytest.raises(EngineError) as stopped:
            fresh.run(*command)
        for part in ("postgres.major is 15", "16, 17 or 18", "namespce", "namespace, createNamespace, "):
            assert part in str(stopped.value)
        assert "Traceback" not in str(stopped.value)
    assert {it["type"] for it in fresh.resources().values()} <= {"pulumi:pulumi:Stack"}


@pytest.fixture
def made(bank: EngineDeployment, monkeypatch: pytest.MonkeyPatch) -> Callable[[], deploy.Deployment]:
    """Return a function that prepares the bank as `make up`, `preview` and `down` do."""
    for name, value in bank.environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(deploy, "REPOSITORY", bank.project)
    monkeypatch.setattr(deploy, "install_program", lambda _: 0)
    return lambda: deploy.prepare(STACK)


def test_another_cluster_than_the_stacks_is_refused_and_nothing_is_changed(
    bank: EngineDeployment, made: Callable[[], deploy.Deployment], tmp_path: Path
) -> None:
    """The state is made to belong to another cluster."""
    own = bank.exported()
    elsewhere = copy.deepcopy(own)
    [record] = [it for it in elsewhere["deployment"]["resources"] if it["type"] == "pulumi:index:Stash"]
    record["outputs"]["output"] = "uid of another cluster"
    before = bank.described()
    bank.import_state(elsewhere, tmp_path)
    try:
        for command in (["preview"], ["up", "--yes", "--skip-preview"]):
            with pytest.raises(EngineError, match=r"belongs to the cluster .* uid of another cluster") as stopped:
                bank.run(*command)
            assert "Traceback" not in str(stopped.value)
        with pytest.raises(UserError, match=r"belongs to the cluster .* uid of another cluster"):
            made()
    finally:
        bank.import_state(own, tmp_path)
    assert bank.described() == before
    bank.run("preview", "--expect-no-changes")


def test_a_cluster_that_does_not_answer_fails_the_preview(
    bank: EngineDeployment, made: Callable[[], deploy.Deployment], tmp_path: Path
) -> None:
    own, bank.kubeconfig = bank.kubeconfig, tmp_path / "kubeconfig"
    bank.kubeconfig.write_text(NOWHERE, encoding="utf-8")
    try:
        with pytest.raises(EngineError, match="cluster is unreachable"):
            bank.run("preview")
    finally:
        bank.kubeconfig = own
    assert made().run("preview", []) == 0


@pytest.mark.parametrize("change", [{"namespace": "neobank-elsewhere"}, {"storageClass": "another"}], ids=str)
def test_a_plan_that_would_replace_the_data_is_refused_with_the_money(
    bank: EngineDeployment, made: Callable[[], deploy.Deployment], change: dict[str, str]
) -> None:
    with bank.reached() as reached:
        reached.join(f"Rich before another {next(iter(change))}")
    before, players = bank.described(), bank.as_superuser("SELECT count(*) FROM players")
    bank.plan(**change)
    try:
        with pytest.raises(UserError, match=rf"the volume postgres-pvc .* of {players} players"):
            made().run("up", [])
        assert bank.described() == before
        with pytest.raises(UserError, match=rf"the namespace {NAMESPACE} and .* of {players} players"):
            made().run("down", [])
    finally:
        for key in change:
            bank.config.pop(key, None)
        bank.plan()
    assert bank.described() == before


def test_drift_finds_a_change_by_hand_and_nothing_else(
    bank: EngineDeployment, made: Callable[[], deploy.Deployment]
) -> None:
    def found() -> list[str]:
        prepared = made()
        return list(drift.drift(prepared.engine.state(secrets=True).resources, prepared.target))

    assert found() == []
    service = ["service/neobank-service", f"--namespace={NAMESPACE}"]
    bank.kubectl.run("patch", *service, "--type=merge", '--patch={"spec": {"selector": {"by": "hand"}}}')
    assert found() == ['Service neobank-service: spec.selector.by is "hand", and the program wants none.']
    bank.kubectl.run("patch", *service, "--type=merge", '--patch={"spec": {"selector": {"by": null}}}')
    assert found() == []


def test_an_interrupted_up_is_settled_by_the_next_one(
    bank: EngineDeployment, made: Callable[[], deploy.Deployment]
) -> None:
    """The engine is killed after it has changed the ConfigMap and before the pods are replaced."""
    interrupted, following = "https://interrupted.example.org", "https://following.example.org"
    before = uids(bank, "configmap")

    def origins() -> str:
        found: str = live(bank, "configmap", "neobank-config")["data"]["CORS_ORIGINS"]
        return found

    bank.plan(application={**SMALL, "corsOrigins": interrupted})
    bank.kill_up(lambda: origins() == interrupted)
    with pytest.raises(UserError, match="that process no longer exists, so remove the lock"):
        made().run("up", [])
    bank.run("cancel", "--yes")
    bank.plan(application={**SMALL, "corsOrigins": following})
    assert made().run("up", []) == 0
    bank.run("preview", "--expect-no-changes")
    assert (uids(bank, "configmap"), origins()) == (before, following)
    container = bank.await_pod(APPLICATION)["metadata"]["name"]
    assert bank.inside(f"pod/{container}", "printenv", "CORS_ORIGINS").strip() == following


def test_an_up_that_was_interrupted_while_it_created_objects_adopts_them(
    bank: EngineDeployment, made: Callable[[], deploy.Deployment], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The engine is killed while it waits for the first pod of a new stack; its state does not have the Deployment."""
    new = EngineDeployment("neobank-interrupted", bank.image, bank.kubeconfig, tmp_path / "new")
    new.clear()
    monkeypatch.setattr(deploy, "REPOSITORY", new.project)
    monkeypatch.setenv("PULUMI_BACKEND_URL", new.environment["PULUMI_BACKEND_URL"])
    new.plan()
    new.kill_up(lambda: new.kubectl.get("deployment", new.namespace, "postgres-deployment") is not None)
    created = uids(new, "deployment")
    new.run("cancel", "--yes")
    assert made().run("up", []) == 0
    assert created.items() <= uids(new, "deployment").items()
    new.run("preview", "--expect-no-changes")
    with new.reached() as reached:
        assert reached.balance(reached.join("Adopted")) == 1000
    new.destroy()
    assert new.resources() == {}


def test_an_up_that_was_interrupted_while_it_replaced_the_migration_is_settled_by_the_next_one(
    bank: EngineDeployment, made: Callable[[], deploy.Deployment]
) -> None:
    """The engine is killed while it waits for the new Job; its state has the old one, which it would delete later."""
    before = uids(bank, "job")
    bank.plan(openingBalance=500)
    bank.kill_up(lambda: not uids(bank, "job").keys() <= before.keys())
    interrupted = uids(bank, "job").keys() - before.keys()
    bank.run("cancel", "--yes")
    assert made().run("up", []) == 0
    bank.run("preview", "--expect-no-changes")
    assert uids(bank, "job").keys() == interrupted
    bank.apply(openingBalance=1000)


def test_protected_data_prevents_a_destroy(bank: EngineDeployment) -> None:
    with bank.reached() as reached:
        reached.join("Protected")
        assert bank.planned(protectData=True) == {}
        bank.apply()
        before = bank.described()
        with pytest.raises(EngineError, match="protect") as stopped:
            bank.destroy()
        assert "postgres-pvc" in str(stopped.value) or "namespace" in str(stopped.value)
        assert bank.described() == before
        assert reached.is_ready()
    assert_kept(bank, "Protected")


def test_protected_data_survives_a_partial_destroy_and_is_used_again(bank: EngineDeployment) -> None:
    with bank.reached() as reached:
        reached.join("Survivor")
    bank.apply(protectData=True)
    before, claim = dict(bank.outputs), uids(bank, "pvc")
    bank.destroy(keep_data=True)
    assert bank.described().keys() == {"PersistentVolumeClaim postgres-pvc", *LEFT_BY_KUBERNETES}
    after = bank.apply()
    assert uids(bank, "pvc") == claim
    for output in ("databasePassword", "databaseUrl", "adminPassword"):
        assert after[output] != before[output]
    assert_kept(bank, "Survivor")
    with bank.reached() as reached:
        reached.log_in(after["adminName"], after["adminPassword"])
    with pytest.raises(KubectlError, match="password authentication failed"):
        bank.log_in(before["databaseUrl"])


LEFT_BY_KUBERNETES = {"ConfigMap kube-root-ca.crt", "ServiceAccount default"}


def test_a_new_state_attaches_to_the_existing_volume(bank: EngineDeployment, tmp_path: Path) -> None:
    with bank.reached() as reached:
        reached.join("Stateless")
    claim = uids(bank, "pvc")
    kinds = "deployments,cronjobs,jobs,services,secrets,configmaps,serviceaccounts"
    selector = "--selector=app.kubernetes.io/managed-by=pulumi"
    bank.kubectl.run("delete", kinds, f"--namespace={NAMESPACE}", selector, "--cascade=foreground", timeout=180)
    attached = {
        "createNamespace": False,
        "postgres": {"memory": "512Mi", "cpu": "50m", "existingClaim": "postgres-pvc"},
    }
    successor = replace(bank, folder=tmp_path, config=attached, outputs={}, printed=[])
    successor.apply()
    assert_kept(successor, "Stateless")
    successor.run("preview", "--expect-no-changes")
    successor.destroy()
    assert uids(bank, "pvc") == claim
    bank.run("up", "--yes", "--skip-preview", "--refresh")
    assert_kept(bank, "Stateless")


def test_destroy_leaves_nothing(bank: EngineDeployment) -> None:
    bank.apply(protectData=False)
    bank.destroy()
    assert bank.kubectl.get("namespace", "", NAMESPACE) is None
    assert bank.resources() == {}
    volumes = json.loads(bank.kubectl.run("get", "persistentvolumes", "--output=json"))["items"]
    assert NAMESPACE not in {volume["spec"].get("claimRef", {}).get("namespace") for volume in volumes}
