"""Who serves metrics to whom, and the CronJob that removes what is past its time."""

from tests.infra.network import NAMESPACE, table
from tests.infra.program import Program, run_prod

SERVING = ("neobank-deployment", "neobank-figures")


def test_prometheus_finds_the_pods_that_serve_metrics_and_no_others(dev: Program) -> None:
    for name, pod in dev.pods():
        annotations = pod["metadata"].get("annotations", {})
        ports = [
            port["containerPort"]
            for described in pod["spec"]["containers"]
            for port in described.get("ports", [])
            if port["name"] == "metrics"
        ]
        asked = {key.removeprefix("prometheus.io/"): it for key, it in annotations.items() if "prometheus" in key}
        assert asked == ({"scrape": "true", "port": "9464", "path": "/metrics"} if name in SERVING else {}), name
        assert ports == ([9464] if name in SERVING else []), name


def test_no_service_and_no_ingress_leads_to_the_metrics(prod: Program) -> None:
    for service in prod.of_kind("Service"):
        assert {port["targetPort"] for port in service.inputs["spec"]["ports"]} <= {"http", "postgres"}


def test_only_the_bank_writes_what_the_container_beside_it_reads(dev: Program) -> None:
    pod = dict(dev.pods())["neobank-deployment"]
    mounts = {
        described["name"]: mount["readOnly"]
        for described in pod["spec"]["containers"]
        for mount in described["volumeMounts"]
        if mount["name"] == "metrics"
    }
    assert mounts == {"neobank": False, "metrics": True}
    [volume] = [it["emptyDir"] for it in pod["spec"]["volumes"] if it["name"] == "metrics"]
    assert volume == {"medium": "Memory", "sizeLimit": "32Mi"}


def test_the_bank_is_ready_without_its_metrics_and_a_shell_opens_where_it_runs(dev: Program) -> None:
    pod = dict(dev.pods())["neobank-deployment"]
    [sidecar] = [it for it in pod["spec"]["containers"] if it["name"] == "metrics"]
    assert not {"readinessProbe", "startupProbe"} & sidecar.keys()
    probe = sidecar["livenessProbe"]
    assert probe["tcpSocket"] == {"port": "metrics"}
    assert probe["periodSeconds"] * probe["failureThreshold"] >= 300  # or a busy node never sees it start
    assert pod["metadata"]["annotations"]["kubectl.kubernetes.io/default-container"] == "neobank"


def test_another_namespace_may_be_the_one_that_monitors() -> None:
    program = run_prod({"network": {"monitoringNamespace": "traefik"}})
    flows = {(source, target) for source, target, _, port in table(program) if port == 9464}
    assert flows == {("ingress controller", name) for name in SERVING}
    assert program.find("Deployment", "neobank-figures").inputs["metadata"]["namespace"] == NAMESPACE


def test_what_is_past_its_time_goes_every_hour_once_at_a_time(dev: Program) -> None:
    spec = dev.find("CronJob", "neobank-expire").inputs["spec"]
    assert spec["schedule"] == "17 * * * *"
    assert spec["concurrencyPolicy"] == "Forbid"
    assert (spec["successfulJobsHistoryLimit"], spec["failedJobsHistoryLimit"]) == (1, 3)
    job = spec["jobTemplate"]["spec"]
    assert job["backoffLimit"] == 1
    assert 0 < job["activeDeadlineSeconds"] < 3600 - spec["startingDeadlineSeconds"]
    assert job["template"]["spec"]["restartPolicy"] == "Never"
