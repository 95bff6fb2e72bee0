"""Changes while players pay: a change of the application fails no request, and no change loses a payment.

The payers are in the node's network and pay through the Service. While the database restarts, they may receive a 503 or
lose their connection; the same request with the same key then succeeds. `paying` checks the ledger.
"""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cluster.applier import ApplyError
from tests.cluster.deployment import APPLICATION, DATABASE, SECRETS, SMALL, Deployment, Measure, other_name, standing
from tests.cluster.kubectl import KubectlError
from tests.cluster.marks import NODE_NETWORK
from tests.cluster.payers import Report
from tests.cluster.variants import REVISION, with_one_more_migration

pytestmark = NODE_NETWORK

TWO = {**SMALL, "replicas": 2, "disruptionBudget": True}


@pytest.fixture(scope="module")
def bank(cluster: Path, service_image: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployment]:
    """A bank with two pods."""
    bank = Deployment("neobank-rolling", service_image, cluster, tmp_path_factory.mktemp("rolling"))
    with standing(bank, application=TWO):
        yield bank
        bank.assert_books_agree()


@pytest.fixture(scope="module")
def newer_image(service_image: str, tmp_path_factory: pytest.TempPathFactory) -> str:
    """An image with one more migration. It fails while a table `news` exists."""
    return with_one_more_migration(service_image, "CREATE TABLE news ()", tmp_path_factory.mktemp("newer"))


def assert_no_player_noticed(report: Report) -> None:
    assert (report.told_to_retry, report.broken, report.logins) == (0, 0, 0), str(report)


def names(bank: Deployment) -> set[str]:
    return set(bank.staying(APPLICATION))


def test_a_new_image_fails_no_request(bank: Deployment, measured: Measure) -> None:
    before = names(bank)
    bank.image = other_name(bank.image)
    with bank.paying("Image") as report:
        bank.apply()
    measured("another image", report)
    assert not before & names(bank)
    assert_no_player_noticed(report)


def test_a_new_setting_fails_no_request(bank: Deployment, measured: Measure) -> None:
    before = names(bank)
    with bank.paying("Setting") as report:
        bank.apply(application={**TWO, "corsOrigins": "https://panel.example.org"})
    measured("another setting", report)
    assert not before & names(bank)
    assert_no_player_noticed(report)


def test_adding_and_removing_a_pod_fails_no_request(bank: Deployment, measured: Measure) -> None:
    with bank.paying("Replicas") as report:
        bank.apply(application={**TWO, "replicas": 3})
        assert len(names(bank)) == 3
        bank.apply(application=TWO)
    measured("a third pod, and back to two", report)
    assert_no_player_noticed(report)


def test_evicting_every_pod_fails_no_request(bank: Deployment, measured: Measure) -> None:
    """As a drain does, by the Eviction API; the budget protects the second pod until the first is replaced."""
    first, second = sorted(names(bank))
    with bank.paying("Eviction") as report:
        assert evict(bank, first)
        assert not evict(bank, second)
        bank.until(lambda: evict(bank, second), "the budget to allow the second eviction")
        bank.until(lambda: len(names(bank) - {first, second}) == 2 == len(names(bank)), "two other pods")
    measured("every pod evicted in turn", report)
    assert_no_player_noticed(report)


def evict(bank: Deployment, pod: str) -> bool:
    """Evict a pod; return whether the budget allowed it."""
    path = f"/api/v1/namespaces/{bank.namespace}/pods/{pod}/eviction"
    eviction = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": pod, "namespace": bank.namespace}}
    try:
        bank.kubectl.run("create", f"--raw={path}", "--filename=-", stdin=json.dumps(eviction))
    except KubectlError as error:
        if "disruption budget" not in str(error):
            raise
        return False
    return True


def test_a_rotated_secret_key_only_ends_sessions(bank: Deployment, measured: Measure) -> None:
    with bank.paying("Key") as report:
        bank.apply(rotation=raised(bank, "secretKey"))
    measured("rotation of secretKey", report)
    assert (report.told_to_retry, report.broken) == (0, 0)
    assert report.logins >= 4


def test_a_rotated_administrators_password_affects_no_player(bank: Deployment, measured: Measure) -> None:
    with bank.paying("Admin") as report:
        bank.apply(rotation=raised(bank, "admin"))
    measured("rotation of admin", report)
    assert_no_player_noticed(report)


def raised(bank: Deployment, *secrets: str) -> dict[str, dict[str, int]]:
    """Return the rotations with the numbers of some secrets raised by one."""
    numbers: dict[str, dict[str, int]] = bank.config.get("rotation", {})
    return numbers | {secret: {"number": numbers.get(secret, {"number": 1})["number"] + 1} for secret in secrets}


@pytest.mark.parametrize(
    "secrets",
    [
        ("application",),
        ("owner", "backup", "metrics"),
        *(pytest.param((secret,), marks=pytest.mark.soak) for secret in ("owner", "backup", "metrics")),
    ],
    ids=" ".join,
)
def test_rotated_database_passwords_lose_no_payment_and_no_session(
    bank: Deployment, measured: Measure, secrets: tuple[str, ...]
) -> None:
    """The server reads passwords when it starts, so it restarts."""
    before = bank.pod(DATABASE)["metadata"]["uid"]
    with bank.paying("Rotation " + " ".join(secrets)) as report:
        bank.apply(rotation=raised(bank, *secrets))
    measured(f"rotation of {', '.join(secrets)}", report)
    assert bank.pod(DATABASE)["metadata"]["uid"] != before
    assert report.logins == 0


def test_a_new_database_setting_loses_no_payment_and_no_session(bank: Deployment, measured: Measure) -> None:
    before = bank.pod(DATABASE)["metadata"]["uid"]
    with bank.paying("Memory") as report:
        bank.apply(postgres={"storage": "1Gi", "memory": "640Mi", "cpu": "50m"})
    measured("another setting of the database", report)
    assert bank.pod(DATABASE)["metadata"]["uid"] != before
    assert report.logins == 0


def test_a_deleted_database_pod_loses_no_payment_and_no_session(bank: Deployment, measured: Measure) -> None:
    pod = bank.pod(DATABASE)
    with bank.paying("Deletion") as report:
        bank.delete_pod(pod)
        bank.await_pod(DATABASE, other_than=pod["metadata"]["uid"])
    measured("the database's pod deleted", report)
    assert report.logins == 0


def test_a_failed_migration_keeps_the_previous_version_serving(
    bank: Deployment, newer_image: str, measured: Measure
) -> None:
    """Players notice nothing, and the previous image can be applied again."""
    before, serving, schema = bank.image, names(bank), revision(bank)
    bank.image = newer_image
    bank.as_superuser("CREATE TABLE news ()")
    message = rf'neobank: .*{REVISION}.*relation "news" already exists'
    with bank.paying("Failure") as report:
        with pytest.raises(ApplyError, match=message):
            bank.apply()
        assert names(bank) == serving
        bank.as_superuser("DROP TABLE news")
        bank.image = before
        bank.apply()
    measured("a failed migration, and the image before", report)
    assert (names(bank), revision(bank)) == (serving, schema)
    assert_no_player_noticed(report)


def test_an_upgrade_and_the_return_to_the_previous_image_fail_no_request(
    bank: Deployment, newer_image: str, measured: Measure
) -> None:
    """The previous image serves on the newer schema, which only adds."""
    before = bank.image
    bank.image = newer_image
    with bank.paying("Upgrade") as report:
        bank.apply()
        upgraded = names(bank)
        assert revision(bank) == REVISION
        bank.image = before
        bank.apply()
    measured("an upgrade with a migration, and the way back", report)
    assert not upgraded & names(bank)
    assert revision(bank) == REVISION
    assert_no_player_noticed(report)


def revision(bank: Deployment) -> str:
    return bank.as_superuser("SELECT version_num FROM alembic_version")


@pytest.mark.soak
def test_repeated_changes_of_every_kind_lose_no_payment(bank: Deployment, measured: Measure) -> None:
    """Make every kind of change in quick succession, five times."""
    with_setting = {**TWO, "corsOrigins": "https://panel.example.org"}
    for time in range(5):
        with bank.paying(f"Soak {time}") as report:
            bank.image = other_name(bank.image)
            bank.apply(application=with_setting if time % 2 else TWO, rotation=raised(bank, *SECRETS))
            for pod in (DATABASE, APPLICATION):
                bank.delete_pod(bank.pods(pod)[0])
            bank.until(lambda: len(names(bank)) == 2, "two pods")
            bank.await_pod(DATABASE)
        measured(f"everything, time {time}", report)
