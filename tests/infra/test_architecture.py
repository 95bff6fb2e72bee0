"""Which objects exist, under which names, in which order, and in which cluster."""

import json
import re

import pulumi
import pytest

import tuning
from tests.infra.program import (
    CHECKOUT,
    IMAGE,
    Config,
    FakeProviders,
    Program,
    Recorder,
    Registered,
    run,
    stack_file,
)

FIXED_NAMES = {
    ("Namespace", "neotropolis-dev"),
    ("PersistentVolumeClaim", "postgres-pvc"),
    ("ConfigMap", "postgres-config"),
    ("ConfigMap", "neobank-config"),
    ("Secret", "postgres-secret"),
    ("Secret", "neobank-secret"),
    ("Secret", "neobank-owner-secret"),
    ("Secret", "neobank-backup-secret"),
    ("Secret", "neobank-metrics-secret"),
    ("Secret", "neobank-figures-secret"),
    ("Deployment", "postgres-deployment"),
    ("Deployment", "neobank-deployment"),
    ("Deployment", "neobank-figures"),
    ("CronJob", "neobank-expire"),
    ("Service", "postgres-service"),
    ("Service", "neobank-service"),
}
OUTPUTS = {
    "summary",
    "namespace",
    "url",
    "databaseHost",
    "databasePort",
    "databaseName",
    "databaseUser",
    "databasePassword",
    "databaseUrl",
    "adminName",
    "adminPassword",
    "image",
    "rotations",
    "portForwardCommand",
    "psqlCommand",
    "backupCommand",
    "verifyCommand",
}


def changed(**keys: object) -> Config:
    return {**stack_file("dev"), **keys}


def selects(selector: dict[str, str], labels: dict[str, str]) -> bool:
    return selector.items() <= labels.items()


def test_objects_that_people_name_have_fixed_names_and_the_others_are_auto_named(dev: Program) -> None:
    assert {(it.kind, it.object_name) for it in dev.kubernetes() if it.object_name} == FIXED_NAMES
    assert sorted(it.kind for it in dev.kubernetes() if not it.object_name) == ["Job", *["ServiceAccount"] * 5]
    assert dev.find("Job").name == "neobank-db-init"


def test_the_outputs_are_complete_and_name_the_database_and_the_service(dev: Program) -> None:
    assert set(dev.outputs) == OUTPUTS
    assert dev.outputs["image"] == IMAGE
    assert dev.outputs["databaseUrl"] == (
        f"postgresql://neobank_0:{dev.outputs['databasePassword']}@postgres-service.neotropolis-dev.svc:5432/neobank"
    )
    assert dev.outputs["url"] == "http://neobank-service.neotropolis-dev.svc"


def test_the_summary_names_pods_database_protection_and_ingress(dev: Program, prod: Program) -> None:
    small, hardened = dev.outputs["summary"], prod.outputs["summary"]
    assert re.search(r"\b1 pod\b.*neobank-deployment", small["bank"])
    assert re.search(r"\b2 to 6 pods\b.*neobank-deployment", hardened["bank"])
    for part in ("PostgreSQL 16", "alpine", "TLS", "4Gi", "postgres-pvc"):
        assert part in hardened["database"]
    assert "without TLS" in small["database"]
    assert "without TLS" not in hardened["database"]
    assert small["data"].startswith("not protected")
    assert hardened["data"].startswith("protected")
    assert "bank.example.org" in hardened["access"]
    assert "with TLS" in hardened["access"]
    assert small["access"].startswith("none")
    assert "kubeContext" in small["production"]
    assert ":" not in hardened["production"]  # it names no key that production lacks
    assert run(changed(postgres={"existingClaim": "kept"})).outputs["summary"]["database"].endswith("kept")


@pytest.mark.parametrize(
    ("first", "then"),
    [
        (("Namespace", ""), ("PersistentVolumeClaim", "")),
        (("Secret", "postgres-secret"), ("Deployment", "postgres-deployment")),
        (("ConfigMap", "postgres-config"), ("Deployment", "postgres-deployment")),
        (("PersistentVolumeClaim", ""), ("Deployment", "postgres-deployment")),
        (("Deployment", "postgres-deployment"), ("Secret", "neobank-owner-secret")),
        (("Deployment", "postgres-deployment"), ("Secret", "neobank-secret")),
        (("Deployment", "postgres-deployment"), ("Secret", "neobank-backup-secret")),
        (("Deployment", "postgres-deployment"), ("Secret", "neobank-metrics-secret")),
        (("Service", "postgres-service"), ("Job", "")),
        (("Secret", "neobank-owner-secret"), ("Job", "")),
        (("Job", ""), ("Deployment", "neobank-deployment")),
        (("Secret", "neobank-secret"), ("Deployment", "neobank-deployment")),
        (("Secret", "neobank-secret"), ("CronJob", "neobank-expire")),
        (("Job", ""), ("Deployment", "neobank-figures")),
        (("Secret", "neobank-figures-secret"), ("Deployment", "neobank-figures")),
    ],
)
def test_a_resource_depends_on_what_it_needs(dev: Program, first: tuple[str, str], then: tuple[str, str]) -> None:
    assert dev.find(*first).urn in dev.find(*then).depends_on


def test_all_objects_use_one_provider(dev: Program) -> None:
    provider = dev.find("kubernetes")
    assert provider.inputs["enableSecretMutable"] == "true"
    assert provider.inputs["enableConfigMapMutable"] == "true"
    assert provider.inputs["clusterIdentifier"] == "neobank/dev"
    assert "context" not in provider.inputs
    assert provider.inputs["kubeconfig"] == ""  # another machine has its own kubeconfig
    assert {it.provider.rpartition("::")[0] for it in dev.kubernetes()} == {provider.urn}


def test_the_context_comes_from_the_stack_and_does_not_identify_the_cluster() -> None:
    program = run(changed(kubeContext="event"), stack="other")
    assert program.find("kubernetes").inputs["context"] == "event"
    assert program.find("kubernetes").inputs["clusterIdentifier"] == "neobank/other"
    commands = [program.outputs[name] for name in ("portForwardCommand", "psqlCommand", "backupCommand")]
    assert all(command.count("kubectl ") == command.count("kubectl --context=event ") for command in commands)


def test_only_the_data_and_the_record_of_their_cluster_are_protected_and_only_with_protect_data(dev: Program) -> None:
    assert [it for it in dev.resources if it.protect] == []
    protected = run(changed(protectData=True))
    assert {it.kind for it in protected.resources if it.protect} == {"Namespace", "PersistentVolumeClaim", "Stash"}


@pytest.mark.parametrize("create", [True, False])
def test_no_object_is_registered_in_another_cluster_than_the_stacks(*, create: bool) -> None:
    recorder = Recorder(FakeProviders(stashed="uid of another cluster"))
    with pytest.raises(pulumi.RunError, match=r"stack dev belongs to the cluster .* uid of another cluster, "):
        run(changed(createNamespace=create, priorityClasses=True), recorder=recorder)
    assert [it.urn for it in recorder.registered if it.type.startswith("kubernetes:")] == []


def test_the_same_cluster_is_recognised_with_an_existing_namespace(dev: Program) -> None:
    same = FakeProviders(stashed="uid of kube-system")
    again = run(changed(createNamespace=False), recorder=Recorder(same))
    assert len(again.kubernetes()) == len(dev.kubernetes()) - 1


def test_a_protected_volume_is_also_retained(dev: Program) -> None:
    """The engine deletes a protected claim when a stack names another claim, because that counts as a replacement."""
    assert [it for it in dev.resources if it.retain] == []
    assert {it.kind for it in run(changed(protectData=True)).resources if it.retain} == {"PersistentVolumeClaim"}


def test_a_new_stack_uses_an_existing_namespace_and_volume() -> None:
    program = run(changed(createNamespace=False, postgres={"existingClaim": "kept"}))
    assert program.of_kind("Namespace", "PersistentVolumeClaim") == []
    volumes = program.find("Deployment", "postgres-deployment").inputs["spec"]["template"]["spec"]["volumes"]
    assert [it["persistentVolumeClaim"]["claimName"] for it in volumes if "persistentVolumeClaim" in it] == ["kept"]
    assert {it.inputs["metadata"]["namespace"] for it in program.kubernetes()} == {"neotropolis-dev"}


def test_the_namespace_admits_only_restricted_pods(dev: Program) -> None:
    labels = dev.find("Namespace").inputs["metadata"]["labels"]
    assert {labels[f"pod-security.kubernetes.io/{mode}"] for mode in ("enforce", "audit", "warn")} == {"restricted"}


def test_the_volume_has_the_storage_and_class_of_the_stack() -> None:
    volume = run(changed(storageClass="fast", postgres={"storage": "20Gi"})).find("PersistentVolumeClaim")
    assert volume.inputs["spec"] == {
        "accessModes": ["ReadWriteOnce"],
        "storageClassName": "fast",
        "resources": {"requests": {"storage": "20Gi"}},
    }
    assert "storageClassName" not in run(stack_file("dev")).find("PersistentVolumeClaim").inputs["spec"]


@pytest.mark.parametrize(
    ("service", "deployment"), [("postgres-service", "postgres-deployment"), ("neobank-service", "neobank-deployment")]
)
def test_a_service_selects_only_its_own_pods(dev: Program, service: str, deployment: str) -> None:
    spec = dev.find("Service", service).inputs["spec"]
    reached = [name for name, pod in dev.pods() if selects(spec["selector"], pod["metadata"]["labels"])]
    assert reached == [deployment]
    [port] = spec["ports"]
    pod = dict(dev.pods())[deployment]
    named = [
        it["containerPort"]
        for container in pod["spec"]["containers"]
        for it in container["ports"]
        if it["name"] == port["targetPort"]
    ]
    assert (port["port"], named) == ((5432, [5432]) if deployment.startswith("postgres") else (80, [5000]))
    assert spec["type"] == "ClusterIP"


def test_a_deployment_selects_only_its_own_pods(dev: Program) -> None:
    for deployment in dev.of_kind("Deployment"):
        selector = deployment.inputs["spec"]["selector"]["matchLabels"]
        assert [name for name, pod in dev.pods() if selects(selector, pod["metadata"]["labels"])] == [deployment.name]


def test_services_are_not_awaited_and_every_wait_has_a_timeout(dev: Program) -> None:
    for service in dev.of_kind("Service"):
        assert service.inputs["metadata"]["annotations"]["pulumi.com/skipAwait"] == "true"
    for workload in dev.of_kind("Deployment", "Job"):
        assert workload.timeouts["create"].endswith("m")
        assert "pulumi.com/skipAwait" not in workload.inputs["metadata"].get("annotations", {})


def test_the_database_never_has_two_pods_and_has_time_to_stop(dev: Program) -> None:
    spec = dev.find("Deployment", "postgres-deployment").inputs["spec"]
    assert (spec["replicas"], spec["strategy"]) == (1, {"type": "Recreate"})
    assert spec["template"]["spec"]["terminationGracePeriodSeconds"] == 120


def test_the_application_rolls_one_pod_at_a_time() -> None:
    spec = run(changed(application={"replicas": 3})).find("Deployment", "neobank-deployment").inputs["spec"]
    assert spec["replicas"] == 3
    assert spec["strategy"] == {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}}


def test_a_failing_job_ends_before_the_engine_stops_waiting(dev: Program) -> None:
    job = dev.find("Job")
    spec = job.inputs["spec"]
    assert job.inputs["metadata"]["annotations"] == {"pulumi.com/replaceUnready": "true"}
    assert spec["backoffLimit"] == 1
    assert spec["activeDeadlineSeconds"] < 60 * int(job.timeouts["create"].removesuffix("m"))
    assert "ttlSecondsAfterFinished" not in spec
    pod = spec["template"]["spec"]
    assert pod["restartPolicy"] == "Never"
    policies = {it["terminationMessagePolicy"] for it in pod["containers"]}
    assert policies == {"FallbackToLogsOnError"}  # the engine then shows the end of the Job's log


def test_a_finished_job_is_deleted_only_if_the_stack_sets_a_ttl() -> None:
    job = run(changed(migration={"ttlSeconds": 600})).find("Job")
    assert job.inputs["spec"]["ttlSecondsAfterFinished"] == 600


@pytest.mark.parametrize(
    "other",
    [
        {"adminName": "Fixer"},
        {"casino": {"bankroll": 5}},
        {"rotation": {"admin": {"number": 2}}},
        {"createNamespace": False, "postgres": {"existingClaim": "kept"}},
    ],
)
def test_a_changed_input_changes_the_job(dev: Program, other: Config) -> None:
    assert template(run(changed(**other)).find("Job")) != template(dev.find("Job"))


def test_another_image_changes_the_job_and_an_unchanged_stack_does_not(dev: Program) -> None:
    assert template(run(stack_file("dev"), image="neobank:other").find("Job")) != template(dev.find("Job"))
    assert template(run(stack_file("dev")).find("Job")) == template(dev.find("Job"))


def template(workload: Registered) -> str:
    return json.dumps(workload.inputs["spec"]["template"], sort_keys=True)


def test_every_value_of_the_stack_reaches_its_object() -> None:
    program = run(
        changed(
            adminName="Fixer",
            openingBalance=250,
            casino={"bankroll": 123, "timeZone": "Europe/Berlin"},
            application={
                "workers": 3,
                "threads": 5,
                "connections": 3,
                "rateLimits": "off",
                "corsOrigins": "https://panel.example.org",
                "cpu": "1",
                "cpuLimit": "3",
                "memory": "600Mi",
            },
            postgres={"major": 18, "flavour": "debian", "cpu": "2", "cpuLimit": "4", "memory": "2Gi"},
        )
    )
    [upgrade] = program.find("Job").inputs["spec"]["template"]["spec"]["containers"]
    values = {it["name"]: it["value"] for it in upgrade["env"] if "value" in it}
    assert values == {"ADMIN_NAME": "Fixer", "CASINO_BANKROLL": "123", "OPENING_BALANCE": "250"}
    config = program.find("ConfigMap", "neobank-config").inputs["data"]
    assert config == {
        "WEB_WORKERS": "3",
        "WEB_THREADS": "5",
        "DATABASE_CONNECTIONS": "3",
        "PORT": "5000",
        "NEOBANK_RATE_LIMITS": "off",
        "CORS_ORIGINS": "https://panel.example.org",
        "TRUSTED_PROXIES": "0",
        "CASINO_TIME_ZONE": "Europe/Berlin",
    }
    pods = dict(program.pods())
    application = pods["neobank-deployment"]["spec"]["containers"][0]
    assert application["resources"] == {
        "requests": {"cpu": "1", "memory": "600Mi", "ephemeral-storage": "64Mi"},
        "limits": {"cpu": "3", "memory": "600Mi", "ephemeral-storage": "1Gi"},
    }
    database = pods["postgres-deployment"]["spec"]
    for container in database["initContainers"] + database["containers"]:
        assert container["image"] == "docker.io/library/postgres:18"
        assert container["resources"] == {
            "requests": {"cpu": "2", "memory": "2Gi", "ephemeral-storage": "64Mi"},
            "limits": {"cpu": "4", "memory": "2Gi", "ephemeral-storage": "1Gi"},
        }
        assert {"name": "PGDATA", "value": "/pgdata/18"} in container["env"]
    assert database["securityContext"]["runAsUser"] == 999


def test_the_database_gets_the_files_of_the_repository(dev: Program) -> None:
    folder = CHECKOUT / "database"
    config = dev.find("ConfigMap", "postgres-config").inputs["data"]
    settings = tuning.as_file(tuning.by_size("512Mi", "1Gi"))
    files = {file.name: file.read_text(encoding="utf-8") for file in folder.iterdir()}
    assert config == {**files, "tuning.conf": settings}
