"""Production beside development on one cluster: all of Pulumi.prod.yaml, with sizes that fit this machine."""

import base64
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cluster.deployment import APPLICATION, DATABASE, Deployment, Measure, standing
from tests.cluster.kubectl import KubectlError
from tests.cluster.marks import NODE_NETWORK
from tests.infra.program import PROD, merged, run_prod
from tools.cluster import local

pytestmark = NODE_NETWORK

SMALLER = {
    "protectData": True,
    "postgres": {"storage": "1Gi", "cpu": "50m"},
    "application": {"cpu": "50m", "rateLimits": "registrations=9000/minute,logins=9000/minute,payments=9000/minute"},
}
VERIFIED = "sslmode=verify-full"
CONNECTED = """SELECT DISTINCT usename, ssl FROM pg_stat_ssl JOIN pg_stat_activity USING (pid)
WHERE client_addr IS NOT NULL"""


@pytest.fixture(scope="module")
def dev(cluster: Path, service_image: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployment]:
    dev = Deployment("neobank-dev", service_image, cluster, tmp_path_factory.mktemp("dev"))
    with standing(dev):
        yield dev


@pytest.fixture(scope="module")
def prod(cluster: Path, service_image: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployment]:
    context = local.kubectl().run("config", "current-context").stdout.strip()
    server = {"kubeContext": context, "postgres": {"image": local.pinned(local.POSTGRES)}}
    config = merged(PROD, merged(SMALLER, server))
    prod = Deployment("neobank-prod", local.pinned(service_image), cluster, tmp_path_factory.mktemp("prod"))
    prod.config = {key: value for key, value in config.items() if key != "namespace"}
    prod.clear()
    before = priorities(prod)  # an interrupted run may have left some
    prod.apply()
    yield prod
    prod.assert_books_agree()
    prod.destroy()
    assert priorities(prod) == before


def priorities(bank: Deployment) -> set[str]:
    """Return the names of the program's PriorityClasses in the cluster."""
    return {it["metadata"]["name"] for it in bank.kubectl.list("priorityclasses", "", "app.kubernetes.io/name=neobank")}


def test_all_objects_of_production_exist(prod: Deployment) -> None:
    expected = run_prod()
    for kind in ("HorizontalPodAutoscaler", "PodDisruptionBudget", "Ingress", "NetworkPolicy"):
        assert len(prod.kubectl.list(kind, prod.namespace)) == len(expected.of_kind(kind)) > 0
    database, serving = prod.pod(DATABASE), prod.staying(APPLICATION)
    assert len(serving) == 2
    assert {pod["spec"]["containers"][0]["image"] for pod in serving.values()} == {prod.image}
    assert database["spec"]["priority"] > max(pod["spec"]["priority"] for pod in serving.values()) > 0


def test_every_client_uses_tls_and_verifies_the_server(prod: Deployment, measured: Measure) -> None:
    """Check the open connections, and the settings of the clients that have none open."""
    with prod.paying("Verified") as report:
        seen = {tuple(row.split("|")) for row in prod.as_superuser(CONNECTED).splitlines()}
    measured("production", report)
    assert (prod.outputs["databaseUser"], "t") in seen
    assert {encrypted for _, encrypted in seen} == {"t"}
    secrets = [it["data"] for it in prod.kubectl.list("secrets", prod.namespace)]
    kept = [(key, base64.b64decode(value).decode()) for secret in secrets for key, value in secret.items()]
    settings = [value for key, value in kept if key == "PGSSLMODE" or value.startswith("postgresql:")]
    assert len(settings) == 5  # bank, migration, figures, and users of psql and pg_dump
    assert all("verify-full" in value for value in settings)


@pytest.mark.parametrize(
    ("instead", "refusal"),
    [
        ("sslmode=disable", "no pg_hba.conf entry .* no encryption"),
        (VERIFIED + "&sslrootcert=/etc/ssl/certs/ca-certificates.crt", "certificate verify failed"),
    ],
    ids=["plain", "another authority"],
)
def test_a_connection_without_tls_or_with_another_authority_fails(prod: Deployment, instead: str, refusal: str) -> None:
    url = prod.outputs["databaseUrl"]
    assert prod.log_in(url) == prod.outputs["databaseUser"]
    address, _, _ = url.partition("?")
    with pytest.raises(KubectlError, match=refusal):
        prod.log_in(f"{address}?{instead}")


def test_a_client_rejects_a_server_without_the_expected_name(prod: Deployment) -> None:
    """The certificate does not contain the address."""
    service = prod.kubectl.get("service", prod.namespace, "postgres-service")
    assert service is not None
    url = prod.outputs["databaseUrl"].replace(prod.outputs["databaseHost"], service["spec"]["clusterIP"])
    with pytest.raises(KubectlError, match="does not match host name"):
        prod.log_in(url)


def test_a_renewed_certificate_loses_no_payment_and_no_session(prod: Deployment, measured: Measure) -> None:
    before = prod.pod(DATABASE)["metadata"]["uid"]
    with prod.paying("Renewed") as report:
        prod.apply(rotation={"tls": {"number": 2}})
    measured("rotation of tls, in production", report)
    assert prod.pod(DATABASE)["metadata"]["uid"] != before
    assert report.logins == 0
    assert prod.log_in(prod.outputs["databaseUrl"]) == prod.outputs["databaseUser"]


def test_destroying_another_stack_changes_nothing_in_production(
    dev: Deployment, prod: Deployment, measured: Measure
) -> None:
    """Development is destroyed, with its cluster-wide objects, while players pay in production."""
    with dev.reached() as bank:
        bank.join("Neighbour")
    shared, described = priorities(prod), prod.described()
    with prod.paying("Neighbour") as report:
        dev.destroy()
    measured("development destroyed beside production", report)
    assert dev.kubectl.get("namespace", "", dev.namespace) is None
    assert (priorities(prod), prod.described()) == (shared, described)
    assert (report.told_to_retry, report.broken, report.logins) == (0, 0, 0), str(report)
