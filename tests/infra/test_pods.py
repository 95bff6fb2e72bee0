"""The restrictions of every pod, and the secrets and files that each container can read."""

import os
import re
import subprocess
from pathlib import Path
from typing import Any

import kubernetes_validate  # type: ignore[import-untyped]
import pytest

from tests.infra.options import options
from tests.infra.program import CHECKOUT, IMAGE, Program
from tests.scripts import write_script

OLDEST_CLUSTER = "1.32"
NEWEST_CLUSTER = "1.36"
UIDS = {
    "postgres-deployment": 70,
    "neobank-db-init": 10001,
    "neobank-deployment": 10001,
    "neobank-figures": 10001,
    "neobank-expire": 10001,
}


def container(program: Program, name: str) -> dict[str, Any]:
    return dict(program.containers())[name]


def variables(described: dict[str, Any]) -> dict[str, str]:
    """Return each variable with its value, or with the Secret and key it comes from."""
    found = {}
    for variable in described.get("env", []):
        reference = variable.get("valueFrom", {}).get("secretKeyRef", {})
        found[variable["name"]] = variable.get("value") or f"{reference['name']}/{reference['key']}"
    return found


def test_there_are_five_pods_with_seven_containers(dev: Program) -> None:
    assert {name for name, _ in dev.containers()} == {
        "postgres-deployment/prepare",
        "postgres-deployment/postgres",
        "neobank-db-init/upgrade",
        "neobank-deployment/neobank",
        "neobank-deployment/metrics",
        "neobank-figures/figures",
        "neobank-expire/expire",
    }


def test_every_pod_is_restricted(dev: Program) -> None:
    for name, pod in dev.pods():
        assert pod["spec"]["securityContext"] == {
            "runAsNonRoot": True,
            "runAsUser": UIDS[name],
            "runAsGroup": UIDS[name],
            "fsGroup": UIDS[name],
            "fsGroupChangePolicy": "OnRootMismatch",
            "seccompProfile": {"type": "RuntimeDefault"},
        }
        assert not {"hostNetwork", "hostPID", "hostIPC"} & pod["spec"].keys()
        kinds = {kind for volume in pod["spec"]["volumes"] for kind in volume if kind != "name"}
        assert kinds <= {"configMap", "emptyDir", "persistentVolumeClaim", "projected"}


def test_every_container_is_restricted(dev: Program) -> None:
    for name, described in dev.containers():
        assert described["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }, name
        assert described["imagePullPolicy"] == "IfNotPresent"
        resources = described["resources"]
        assert resources["requests"]["cpu"]
        assert resources["requests"]["memory"] == resources["limits"]["memory"]


def test_no_pod_has_an_api_token_or_service_variables(dev: Program) -> None:
    accounts = {f"{it.name}-1a2b3c4d": it for it in dev.of_kind("ServiceAccount")}
    assert all(it.inputs["automountServiceAccountToken"] is False for it in accounts.values())
    used = [pod["spec"]["serviceAccountName"] for _, pod in dev.pods()]
    assert sorted(used) == sorted(accounts)  # one for each workload
    for _, pod in dev.pods():
        assert pod["spec"]["automountServiceAccountToken"] is False
        assert pod["spec"]["enableServiceLinks"] is False


def test_every_mount_has_a_volume_and_every_volume_a_mount(dev: Program) -> None:
    for name, pod in dev.pods():
        volumes = {it["name"] for it in pod["spec"]["volumes"]}
        described = pod["spec"].get("initContainers", []) + pod["spec"]["containers"]
        assert {mount["name"] for it in described for mount in it["volumeMounts"]} == volumes, name


def test_a_container_can_write_only_where_it_has_to(dev: Program) -> None:
    for name, described in dev.containers():
        database = ["/dev/shm", "/pgdata", "/tmp", "/var/run/postgresql"]  # noqa: S108
        expected = database if name.startswith("postgres") else ["/tmp"]  # noqa: S108
        if name == "neobank-deployment/neobank":
            expected = ["/run/metrics", *expected]
        assert sorted(it["mountPath"] for it in described["volumeMounts"] if not it["readOnly"]) == expected


def test_shared_memory_is_smaller_than_the_memory_limit(dev: Program) -> None:
    pod = dict(dev.pods())["postgres-deployment"]
    [shared] = [it["emptyDir"] for it in pod["spec"]["volumes"] if it["name"] == "shared-memory"]
    assert shared == {"medium": "Memory", "sizeLimit": "256Mi"}
    limits = [it["resources"]["limits"]["memory"] for it in pod["spec"]["containers"]]
    assert limits == ["512Mi"]  # the least that settings.py allows


def test_the_database_server_has_no_access_to_passwords(dev: Program) -> None:
    pod = dict(dev.pods())["postgres-deployment"]
    prepare, serve = container(dev, "postgres-deployment/prepare"), container(dev, "postgres-deployment/postgres")
    [credentials] = [it for it in pod["spec"]["volumes"] if "projected" in it]
    assert credentials["projected"] == {"defaultMode": 0o440, "sources": [{"secret": {"name": "postgres-secret"}}]}
    [path] = [it["mountPath"] for it in prepare["volumeMounts"] if it["name"] == credentials["name"]]
    assert variables(prepare) == {"PGDATA": "/pgdata/16", "NEOBANK_CREDENTIALS": path}
    assert credentials["name"] not in {it["name"] for it in serve["volumeMounts"]}
    assert variables(serve) == {"PGDATA": "/pgdata/16"}


def test_the_database_runs_the_scripts_it_mounts(dev: Program) -> None:
    for name, word in (("prepare", "prepare"), ("postgres", "serve")):
        described = container(dev, f"postgres-deployment/{name}")
        [files] = [it["mountPath"] for it in described["volumeMounts"] if it["name"] == "files"]
        assert described["command"] == ["bash", f"{files}/start.sh", word]
        assert described["image"] == "docker.io/library/postgres:16-alpine"


def test_a_pod_of_the_service_gets_only_its_own_roles_secret(dev: Program) -> None:
    assert variables(container(dev, "neobank-db-init/upgrade")) == {
        "DATABASE_OWNER_URL": "neobank-owner-secret/DATABASE_OWNER_URL",
        "ADMIN_PASSWORD": "neobank-owner-secret/ADMIN_PASSWORD",
        "ADMIN_NAME": "admin",
        "CASINO_BANKROLL": "10000000",
        "OPENING_BALANCE": "1000",
    }
    serving = container(dev, "neobank-deployment/neobank")
    assert variables(serving) == {
        "DATABASE_URL": "neobank-secret/DATABASE_URL",
        "SECRET_KEY": "neobank-secret/SECRET_KEY",
        "METRICS_FOLDER": "/run/metrics",
    }
    assert serving["envFrom"] == [{"configMapRef": {"name": "neobank-config"}}]
    assert variables(container(dev, "neobank-deployment/metrics")) == {"METRICS_FOLDER": "/run/metrics"}
    figures, expire = container(dev, "neobank-figures/figures"), container(dev, "neobank-expire/expire")
    assert variables(figures) == {"DATABASE_URL": "neobank-figures-secret/DATABASE_URL"}
    assert variables(expire) == {"DATABASE_URL": "neobank-secret/DATABASE_URL"}
    for described in (container(dev, "neobank-deployment/metrics"), figures, expire):
        assert "envFrom" not in described


def test_the_service_runs_the_commands_of_the_contract(dev: Program) -> None:
    assert container(dev, "neobank-db-init/upgrade")["command"] == ["neobank", "db", "upgrade"]
    serving = container(dev, "neobank-deployment/neobank")
    assert serving["command"][0] == "gunicorn"
    assert container(dev, "neobank-deployment/metrics")["command"] == ["neobank", "metrics"]
    assert container(dev, "neobank-figures/figures")["command"] == ["neobank", "figures"]
    assert container(dev, "neobank-expire/expire")["command"] == ["neobank", "expire"]
    assert {it["image"] for name, it in dev.containers() if name.startswith("neobank")} == {IMAGE}


def test_database_probes_use_tcp_and_leave_time_for_recovery(dev: Program) -> None:
    serve = container(dev, "postgres-deployment/postgres")
    startup, readiness, liveness = (
        serve[f"{kind}Probe"]["exec"]["command"] for kind in ("startup", "readiness", "liveness")
    )
    assert readiness == startup == ["pg_isready", "--host=127.0.0.1", "--username=neobank_metrics", "--dbname=neobank"]
    assert liveness == ["sh", "-c", f"{' '.join(readiness)}; test $? -lt 2"]
    assert serve["startupProbe"]["periodSeconds"] * serve["startupProbe"]["failureThreshold"] >= 300


@pytest.mark.parametrize(("state", "alive"), [(0, True), (1, True), (2, False), (3, False)])
def test_a_database_that_rejects_connections_is_alive(dev: Program, tmp_path: Path, state: int, *, alive: bool) -> None:
    """It rejects them while it recovers from the crash of one of its processes; 2 is `no response`."""
    write_script(tmp_path, "pg_isready", f"#!/bin/sh\nexit {state}\n")
    command = container(dev, "postgres-deployment/postgres")["livenessProbe"]["exec"]["command"]
    environment = {"PATH": f"{tmp_path}:{os.defpath}"}
    assert (subprocess.run(command, env=environment, check=False).returncode == 0) is alive


def test_only_the_readiness_probe_of_the_application_depends_on_the_database(dev: Program) -> None:
    serving = container(dev, "neobank-deployment/neobank")
    asked = {kind: serving[f"{kind}Probe"]["httpGet"] for kind in ("startup", "readiness", "liveness")}
    assert asked["startup"] == asked["liveness"] == {"path": "/health", "port": "http"}
    assert asked["readiness"] == {"path": "/health/ready", "port": "http"}


def test_the_application_has_time_to_finish_its_requests(dev: Program) -> None:
    source = (CHECKOUT / "service/neobank/serving/gunicorn.py").read_text(encoding="utf-8")
    found = re.search(r"^graceful_timeout = (\d+)", source, re.MULTILINE)
    assert found
    drain = container(dev, "neobank-deployment/neobank")["lifecycle"]["preStop"]["sleep"]["seconds"]
    grace = dict(dev.pods())["neobank-deployment"]["spec"]["terminationGracePeriodSeconds"]
    assert drain >= 5
    assert grace >= drain + int(found[1]) + 5


@pytest.mark.parametrize("version", [OLDEST_CLUSTER, NEWEST_CLUSTER])
def test_every_object_is_valid_kubernetes(dev: Program, version: str) -> None:
    assert len(dev.kubernetes()) == 22
    everything = options()[-1].program.kubernetes()
    assert {"Ingress", "HorizontalPodAutoscaler", "NetworkPolicy", "PodDisruptionBudget", "PriorityClass"} < {
        it.kind for it in everything
    }
    for registered in [*dev.kubernetes(), *everything]:
        kubernetes_validate.validate(registered.inputs, version, strict=True)
