"""Which pods serve metrics, who can read them, and the CronJob that deletes expired rows."""

from tests.infra.network import NAMESPACE, table
from tests.infra.program import Program, run_prod

SERVING = ("neobank-deployment", "neobank-figures")


def test_only_the_pods_that_serve_metrics_are_annotated_for_prometheus(dev: Program) -> None:
    for name, pod in dev.pods():
        annotations = pod["metadata"].get("annotations", {})
        ports = [
            port["containerPort"]
            for described in pod["spec"]["containers"]
            for port in described.get("ports", [])
            if port["name"] == "metrics"
        ]
        scrape = {key.removeprefix("prometheus.io/"): it for key, it in annotations.items() if "prometheus" in key}
        assert scrape == ({"scrape": "true", "port": "9464", "path": "/metrics"} if name in SERVING else {}), name
        assert ports == ([9464] if name in SERVING else []), name


def test_no_service_leads_to_the_metrics(prod: Program) -> None:
    for service in prod.of_kind("Service"):
        assert {port["targetPort"] for port in service.inputs["spec"]["ports"]} <= {"http", "postgres"}


def test_only_the_bank_can_write_the_files_that_its_metrics_container_reads(dev: Program) -> None:
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


def test_readiness_does_not_depend_on_the_metrics_container_and_neobank_is_the_default_container(dev: Program) -> None:
    pod = dict(dev.pods())["neobank-deployment"]
    [sidecar] = [it for it in pod["spec"]["containers"] if it["name"] == "metrics"]
    assert not {"readinessProbe", "startupProbe"} & sidecar.keys()
    probe = sidecar["livenessProbe"]
    assert probe["tcpSocket"] == {"port": "metrics"}
    assert probe["periodSeconds"] * probe["failureThreshold"] >= 300  # or a busy node restarts it before it listens
    assert pod["metadata"]["annotations"]["kubectl.kubernetes.io/default-container"] == "neobank"


def test_the_stack_names_the_namespace_of_prometheus() -> None:
    program = run_prod({"network": {"monitoringNamespace": "traefik"}})
    flows = {(source, target) for source, target, _, port in table(program) if port == 9464}
    assert flows == {("ingress controller", name) for name in SERVING}
    assert program.find("Deployment", "neobank-figures").inputs["metadata"]["namespace"] == NAMESPACE


def test_expired_rows_are_deleted_every_hour_by_one_job_at_a_time(dev: Program) -> None:
    spec = dev.find("CronJob", "neobank-expire").inputs["spec"]
    assert spec["schedule"] == "17 * * * *"
    assert spec["concurrencyPolicy"] == "Forbid"
    assert (spec["successfulJobsHistoryLimit"], spec["failedJobsHistoryLimit"]) == (1, 3)
    job = spec["jobTemplate"]["spec"]
    assert job["backoffLimit"] == 1
    assert 0 < job["activeDeadlineSeconds"] < 3600 - spec["startingDeadlineSeconds"]
    assert job["template"]["spec"]["restartPolicy"] == "Never"
