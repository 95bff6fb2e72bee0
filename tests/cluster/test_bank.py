"""The program on a real node: the bank works, started in the right order, and the pods are restricted."""

from datetime import datetime
from pathlib import Path

import pytest

from tests.bank import Bank
from tests.cluster.deployment import APPLICATION, DATABASE, FIGURES, MIGRATION, SMALL, Deployment
from tests.cluster.kubectl import KubectlError

CAPABILITIES = ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")


def moment(text: str) -> datetime:
    return datetime.fromisoformat(text)


def test_the_volume_is_bound_and_the_pods_are_ready(deployed: Deployment) -> None:
    claim = deployed.kubectl.get("pvc", deployed.namespace, "postgres-pvc")
    assert claim is not None
    assert claim["status"]["phase"] == "Bound"
    for selector in (DATABASE, APPLICATION):
        deployed.await_pod(selector)


def test_the_application_started_after_the_migration(deployed: Deployment) -> None:
    (job,) = deployed.kubectl.list("jobs", deployed.namespace, MIGRATION)
    application = deployed.kubectl.get("deployment", deployed.namespace, "neobank-deployment")
    assert application is not None
    assert job["status"]["succeeded"] == 1
    assert moment(application["metadata"]["creationTimestamp"]) >= moment(job["status"]["completionTime"])
    assert "failed" not in job["status"]


def test_the_namespace_rejects_an_unrestricted_pod(deployed: Deployment) -> None:
    pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "unrestricted", "namespace": deployed.namespace},
        "spec": {"containers": [{"name": "unrestricted", "image": deployed.image}]},
    }
    with pytest.raises(KubectlError, match=r'violates PodSecurity "restricted'):
        deployed.kubectl.apply(pod, manager="tests")


@pytest.mark.parametrize("selector", [DATABASE, APPLICATION, MIGRATION, FIGURES])
def test_no_pod_runs_as_root_or_writes_to_its_root_file_system(deployed: Deployment, selector: str) -> None:
    for pod in deployed.pods(selector):
        assert pod["spec"]["securityContext"]["runAsNonRoot"] is True
        assert all(it["securityContext"]["readOnlyRootFilesystem"] for it in pod["spec"]["containers"])
    if selector != MIGRATION:
        container = pod["metadata"]["name"]
        with pytest.raises(KubectlError, match="Read-only file system"):
            deployed.inside(f"pod/{container}", "touch", "/etc/here")
        assert deployed.inside(f"pod/{container}", "id", "-u").strip() != "0"


@pytest.mark.parametrize("selector", [DATABASE, APPLICATION, FIGURES])
def test_no_container_has_capabilities_or_a_token(deployed: Deployment, selector: str) -> None:
    """Read the kernel's status of each first process, and the mounts, of which none may be a token's."""
    pod = deployed.pod(selector)
    for name in [container["name"] for container in pod["spec"]["containers"]]:

        def inside(*command: str, name: str = name) -> str:
            return deployed.inside(f"pod/{pod['metadata']['name']}", *command, container=name)

        lines = [line.partition(":") for line in inside("cat", "/proc/1/status").splitlines()]
        status = {key: value.strip() for key, _, value in lines}
        assert {key: int(status[key], 16) for key in CAPABILITIES} == dict.fromkeys(CAPABILITIES, 0)
        assert (status["NoNewPrivs"], status["Seccomp"]) == ("1", "2")
        assert "0" not in {*status["Uid"].split(), *status["Gid"].split()}
        mounts = [line.split() for line in inside("cat", "/proc/1/mounts").splitlines()]
        assert {"ro"} == {options.split(",")[0] for _, where, _, options, *_ in mounts if where == "/"}
        assert not [where for _, where, *_ in mounts if where.startswith("/var/run/secrets")]


def test_gunicorn_is_process_1(deployed: Deployment) -> None:
    """Then gunicorn receives the signal to stop, and drains."""
    first = deployed.inside("deployment/neobank-deployment", "cat", "/proc/1/cmdline").split("\0")
    assert any(Path(word).name == "gunicorn" for word in first)


def test_players_pay_each_other_through_the_service(deployed: Deployment) -> None:
    with deployed.reached() as bank:
        neo, trinity = bank.join("Neo"), bank.join("Trinity")
        status, _ = bank.pay(neo, trinity, 12.34)
        assert status == 201
        assert (bank.balance(neo), bank.balance(trinity)) == (987.66, 1012.34)
    deployed.assert_books_agree()


def test_the_first_administrator_can_log_in(deployed: Deployment) -> None:
    with deployed.reached() as bank:
        bank.log_in(deployed.outputs["adminName"], deployed.outputs["adminPassword"])


def test_the_database_url_of_the_outputs_works(deployed: Deployment) -> None:
    assert deployed.log_in(deployed.outputs["databaseUrl"]) == deployed.outputs["databaseUser"]


def test_applying_the_program_again_changes_nothing(deployed: Deployment) -> None:
    before = deployed.described()
    outputs = dict(deployed.outputs)
    assert deployed.apply() == outputs
    assert deployed.described() == before


def test_each_of_three_pods_serves(deployed: Deployment) -> None:
    deployed.apply(application={**SMALL, "replicas": 3})
    try:
        names = [pod["metadata"]["name"] for pod in deployed.pods(APPLICATION)]
        assert len(names) == 3
        for name in names:
            with deployed.reached(f"pod/{name}", 5000) as bank:
                assert bank.is_ready()
                assert_serves(bank, f"Visitor of {name}")
    finally:
        deployed.apply(application=SMALL)
    deployed.await_pod(APPLICATION)


def assert_serves(bank: Bank, name: str) -> None:
    assert bank.balance(bank.join(name)) == 1000
