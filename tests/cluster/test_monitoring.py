"""Metrics, figures and expiry on a real node."""

import urllib.request
from contextlib import suppress

from tests.cluster.deployment import APPLICATION, FIGURES, PATIENCE, Deployment
from tests.service.serving import Samples, scraped

PORT = 9464


def scrape(deployed: Deployment, target: str) -> Samples:
    """Read the metrics of a pod; the metrics container may start later than the serving one."""
    found: list[Samples] = []

    def answered() -> bool:
        with (
            suppress(OSError),
            deployed.reached(target, PORT) as address,
            urllib.request.urlopen(f"{address.address}/metrics", timeout=60) as answer,  # noqa: S310  # loopback
        ):
            found.append(scraped(answer.read().decode()))
        return bool(found)

    deployed.until(answered, f"the metrics of {target}")
    return found[0]


def test_each_serving_pod_exports_its_metrics_and_one_pod_the_figures(deployed: Deployment) -> None:
    name = deployed.await_pod(APPLICATION)["metadata"]["name"]
    before = scrape(deployed, f"pod/{name}")
    with deployed.reached() as bank:
        first, second = bank.join("Molly"), bank.join("Case")
        for _ in range(5):
            assert bank.pay(first, second, 0.5)[0] == 201
    after = scrape(deployed, f"pod/{name}")
    made = {it: after[it] - before[it] for it in after if it.startswith("neobank_transfer") and after[it] != before[it]}
    assert made == {
        "neobank_transfers_total kind=transfer": 5,
        "neobank_transferred_hundredths_total kind=transfer": 250,
        "neobank_transfers_total kind=opening_balance": 2,
        "neobank_transferred_hundredths_total kind=opening_balance": 200_000,
    }
    deployed.await_pod(FIGURES)
    figures = scrape(deployed, "deployment/neobank-figures")
    assert figures["neobank_figures_up"] == 1
    assert figures["neobank_ledger_total_hundredths"] == 0
    assert figures["neobank_players"] >= 3


def test_the_metrics_container_cannot_change_the_metrics(deployed: Deployment) -> None:
    pod = deployed.await_pod(APPLICATION)["metadata"]["name"]
    command = ["exec", f"--namespace={deployed.namespace}", pod, "--container=metrics", "--", "sh", "-c"]
    output = deployed.kubectl.run(*command, "ls /run/metrics; touch /run/metrics/here || echo refused")
    assert "counter_1.db" in output
    assert output.endswith("refused\n")


def test_the_cron_job_deletes_expired_rows(deployed: Deployment) -> None:
    namespace = f"--namespace={deployed.namespace}"
    deployed.kubectl.run("create", "job", namespace, "--from=cronjob/neobank-expire", "expire-now")
    try:
        wait = ["wait", namespace, "--for=condition=Complete", f"--timeout={PATIENCE}s", "job/expire-now"]
        deployed.kubectl.run(*wait, timeout=PATIENCE + 10)
        log = deployed.kubectl.run("logs", namespace, "job/expire-now")
    finally:
        deployed.kubectl.run("delete", "job", namespace, "expire-now")
    assert log.startswith("Removed ")


def test_both_containers_end_on_sigterm(deployed: Deployment) -> None:
    """Process 1 of each container receives the signal: none is killed at the end of the grace period."""
    pod = deployed.await_pod(APPLICATION)
    deployed.kubectl.run("delete", "pod", f"--namespace={deployed.namespace}", pod["metadata"]["name"], "--timeout=40s")
    deployed.await_pod(APPLICATION, other_than=pod["metadata"]["uid"])
