"""The volume survives its pods: no confirmed payment is lost, and two servers never use it at once."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.bank import Bank, Crowd, Player
from tests.cluster.deployment import DATABASE, Deployment, is_ready
from tests.cluster.kubectl import KubectlError
from tests.cluster.marks import NODE_PROCESSES

POD = "postgres-deployment"


@pytest.fixture
def crowd(deployed: Deployment, request: pytest.FixtureRequest) -> Iterator[Crowd]:
    """Eight clients who pay continuously among four players."""
    with deployed.reached() as bank:
        players = [bank.join(f"{request.node.name} {index}") for index in range(4)]
        with Crowd(bank, players) as crowd:
            crowd.await_confirmed(100)
            yield crowd


def assert_nothing_was_lost(deployed: Deployment, crowd: Crowd) -> None:
    crowd.await_confirmed(100)
    crowd.__exit__()
    assert crowd.missing() == set()
    deployed.assert_books_agree()


def test_a_deleted_pod_loses_no_confirmed_payment(deployed: Deployment, crowd: Crowd) -> None:
    pod = deployed.pod(DATABASE)
    deployed.delete_pod(pod)
    deployed.await_pod(DATABASE, other_than=pod["metadata"]["uid"])
    assert_nothing_was_lost(deployed, crowd)


@NODE_PROCESSES
def test_a_killed_server_loses_no_confirmed_payment(deployed: Deployment, crowd: Crowd) -> None:
    pod = deployed.pod(DATABASE)
    started = container(pod)["restartCount"]
    assert deployed.kill(pod, "postgres") > 1
    deployed.until(lambda: container(deployed.pod(DATABASE))["restartCount"] > started, "the server's restart")
    deployed.await_pod(DATABASE)
    assert_nothing_was_lost(deployed, crowd)


def container(pod: dict[str, dict[str, list[dict[str, int]]]]) -> dict[str, int]:
    return pod["status"]["containerStatuses"][0]


def test_a_group_writable_data_directory_is_restricted_again(deployed: Deployment) -> None:
    """The test sets the mode that fsGroup sets on other clusters."""
    deployed.inside(f"deployment/{POD}", "chmod", "2770", "/pgdata/16")
    pod = deployed.pod(DATABASE)
    deployed.delete_pod(pod)
    deployed.await_pod(DATABASE, other_than=pod["metadata"]["uid"])
    assert deployed.inside(f"deployment/{POD}", "stat", "-c", "%a", "/pgdata/16").strip() == "700"


def test_a_second_server_waits_until_the_first_ends(deployed: Deployment) -> None:
    with deployed.reached() as bank:
        neo = bank.join("Not alone")
        second = start_second_pod(deployed)
        try:
            deployed.until(lambda: "another server still uses" in log(deployed, second), "the second pod to wait")
            assert bank.balance(neo) == 1000
            scale(deployed, 0)
            deployed.kubectl.wait("pod", deployed.namespace, second, is_ready, 240)
            assert deployed.as_superuser("SELECT 1", f"pod/{second}") == "1"
            deployed.until(lambda: answers(bank, neo), "the bank to connect to the second server")
            assert bank.balance(neo) == 1000
        finally:
            deployed.kubectl.delete("pod", deployed.namespace, second)
            scale(deployed, 1)
        deployed.await_pod(DATABASE)
        deployed.until(lambda: answers(bank, neo), "the bank to connect to the first server again")
    deployed.assert_books_agree()


def start_second_pod(deployed: Deployment) -> str:
    """Create the pod that the Deployment would, on the same volume; return its name."""
    template = deployed.kubectl.get("deployment", deployed.namespace, POD)
    assert template is not None
    pod = template["spec"]["template"]
    pod["metadata"] = {"name": "second", "namespace": deployed.namespace, "labels": pod["metadata"]["labels"]}
    described = {"apiVersion": "v1", "kind": "Pod", "metadata": pod["metadata"], "spec": pod["spec"]}
    deployed.kubectl.run("create", "--filename=-", stdin=json.dumps(described))
    return "second"


def log(deployed: Deployment, pod: str) -> str:
    """Return the log of a pod's `prepare` container; it is empty until the container starts."""
    try:
        return deployed.kubectl.run("logs", pod, f"--namespace={deployed.namespace}", "--container=prepare")
    except KubectlError:
        return ""


def scale(deployed: Deployment, replicas: int) -> None:
    deployed.kubectl.run("scale", f"deployment/{POD}", f"--namespace={deployed.namespace}", f"--replicas={replicas}")


def answers(bank: Bank, player: Player) -> bool:
    """Return whether 20 requests succeed; the first one of each worker may still use its old connection."""
    return all(bank.call("/api/v1/account", token=player.token)[0] == 200 for _ in range(20))


@NODE_PROCESSES
def test_a_killed_initialisation_is_repeated(cluster: Path, service_image: str, tmp_path: Path) -> None:
    """The volume of this new bank is empty; the next application of the stack creates the schema."""
    bank = Deployment("neobank-killed", service_image, cluster, tmp_path)
    bank.clear()
    applying = bank.apply_in_background()
    killed = False

    def kill_initdb() -> bool:
        nonlocal killed
        for pod in bank.pods(DATABASE):
            killed = killed or bank.kill(pod, "initdb") > 0
        return killed or not applying.is_alive()

    bank.until(kill_initdb, "initdb to run")
    applying.join(timeout=300)
    assert killed, "initdb ended before it could be killed"
    bank.apply()
    pod = bank.await_pod(DATABASE)
    assert pod["status"]["initContainerStatuses"][0]["restartCount"] >= 1
    with bank.reached() as reached:
        assert reached.balance(reached.join("Reborn")) == 1000
    bank.assert_books_agree()
    bank.abandon()
