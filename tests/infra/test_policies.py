"""The rules of the policy pack: all that the program registers complies, and each rule detects its violations.

The resources registered without the engine are those that the engine passes to the pack. The engine itself runs the
pack if `pulumi` is on PATH and the pack's own environment exists (`pulumi install` in policy/).
"""

import copy
import os
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from hardening import RULES, STACK_RULES, Resource, violations
from tests.absence import NEEDS_ENGINE, no_cluster
from tests.infra.options import options
from tests.infra.program import CHECKOUT, DIGEST_IMAGE, PROD, Program, copy_program
from tools.cluster import local
from tools.cluster.paths import KUBECONFIG

PACK = CHECKOUT / "policy"
ALL_RULES = {rule.name for rule in RULES} | {rule.name for rule in STACK_RULES}

Document = dict[str, Any]


def described(program: Program) -> list[Resource]:
    return [Resource(it.type, it.name, it.inputs) for it in program.resources]


def test_every_option_of_the_program_complies_with_the_rules() -> None:
    found = {it.name: list(violations(described(it.program), production=it.production)) for it in options()}
    assert {name: messages for name, messages in found.items() if messages} == {}


def test_the_options_include_every_optional_resource() -> None:
    kinds = {resource.kind for option in options() for resource in option.program.resources}
    assert {"Ingress", "HorizontalPodAutoscaler", "NetworkPolicy", "PodDisruptionBudget", "PriorityClass"} <= kinds
    names = {resource.object_name for option in options() for resource in option.program.resources}
    assert {"pgbouncer-deployment", "postgres-tls"} <= names
    assert {option.production for option in options()} == {True, False}
    assert len(options()) > 15


def pod(document: Document) -> Document:
    spec: Document = document["spec"]["template"]["spec"]
    return spec


def first(document: Document) -> Document:
    container: Document = pod(document)["containers"][0]
    return container


def put(*path: str | int, value: object = None) -> Callable[[Document], None]:
    """Return a change that sets the value at a path, or deletes it if the value is None."""

    def change(document: Any) -> None:  # noqa: ANN401  # objects and lists
        for key in path[:-1]:
            document = document[key]
        if value is None:
            del document[path[-1]]
        else:
            document[path[-1]] = value

    return change


def in_pod(*path: str | int, value: object = None) -> Callable[[Document], None]:
    return lambda document: put(*path, value=value)(pod(document))


def in_container(*path: str | int, value: object = None) -> Callable[[Document], None]:
    return lambda document: put(*path, value=value)(first(document))


def another_volume(**source: object) -> Callable[[Document], None]:
    return lambda document: pod(document)["volumes"].append({"name": "other", **source})


def another_variable(name: str, value: str) -> Callable[[Document], None]:
    return lambda document: first(document)["env"].append({"name": name, "value": value})


BANK, DATABASE, JOB = "neobank-deployment", "postgres-deployment", "neobank-db-init"
URL = "postgresql://neobank:hunter2@postgres-service/neobank"
POOLER = "[databases]\nneobank = host=postgres-service password=hunter2"
KEY = "-----BEGIN EC PRIVATE KEY-----\nMHc"

INGRESS_POLICY = "allow-bank-from-ingress"
NAMED: Document = {"from": [{"podSelector": {"matchLabels": {"a": "b"}}}], "ports": [{"port": 5000}]}
MUTATIONS: list[tuple[str, str, Callable[[Document], None]]] = [
    ("pods-are-restricted", BANK, in_pod("securityContext")),
    ("pods-are-restricted", BANK, in_pod("securityContext", "runAsNonRoot", value=False)),
    ("pods-are-restricted", DATABASE, in_pod("securityContext", "runAsUser", value=0)),
    ("pods-are-restricted", JOB, in_pod("securityContext", "seccompProfile", "type", value="Unconfined")),
    ("pods-are-restricted", JOB, in_pod("securityContext", "seccompProfile")),
    ("pods-are-restricted", BANK, in_pod("hostNetwork", value=True)),
    ("pods-are-restricted", BANK, in_pod("hostPID", value=True)),
    ("pods-are-restricted", BANK, in_pod("hostIPC", value=True)),
    ("pods-are-restricted", BANK, in_pod("enableServiceLinks")),
    ("containers-are-restricted", DATABASE, in_container("securityContext")),
    ("containers-are-restricted", BANK, in_container("securityContext", "allowPrivilegeEscalation", value=True)),
    ("containers-are-restricted", BANK, in_container("securityContext", "privileged", value=True)),
    ("containers-are-restricted", BANK, in_container("securityContext", "readOnlyRootFilesystem")),
    ("containers-are-restricted", BANK, in_container("securityContext", "capabilities", "drop", value=["NET_RAW"])),
    ("containers-are-restricted", BANK, in_container("securityContext", "capabilities", "add", value=["CHOWN"])),
    ("containers-are-restricted", BANK, in_container("securityContext", "runAsUser", value=0)),
    ("containers-are-restricted", BANK, in_container("securityContext", "runAsNonRoot", value=False)),
    (
        "containers-are-restricted",
        BANK,
        in_container("securityContext", "seccompProfile", value={"type": "Unconfined"}),
    ),
    (
        "containers-are-restricted",
        DATABASE,
        lambda document: pod(document)["initContainers"][0].pop("securityContext"),
    ),
    ("no-token", "postgres", put("automountServiceAccountToken")),
    ("no-token", BANK, in_pod("automountServiceAccountToken", value=True)),
    ("no-token", BANK, in_pod("serviceAccountName")),
    ("no-token", BANK, in_pod("serviceAccountName", value="default")),
    ("volumes-are-restricted", DATABASE, another_volume(hostPath={"path": "/"})),
    ("volumes-are-restricted", DATABASE, another_volume(nfs={"server": "elsewhere", "path": "/"})),
    (
        "volumes-are-restricted",
        BANK,
        another_volume(projected={"sources": [{"serviceAccountToken": {"path": "token"}}]}),
    ),
    ("containers-have-resources", JOB, in_container("resources")),
    ("containers-have-resources", JOB, in_container("resources", "requests", "memory")),
    ("containers-have-resources", JOB, in_container("resources", "limits", "cpu")),
    ("containers-have-resources", BANK, in_container("resources", "requests", "ephemeral-storage")),
    ("containers-have-resources", BANK, in_container("resources", "limits", "ephemeral-storage")),
    ("containers-have-resources", DATABASE, lambda document: pod(document)["initContainers"][0].pop("resources")),
    ("images-have-versions", BANK, in_container("image", value="registry.example/neobank")),
    ("images-have-versions", BANK, in_container("image", value="registry.example:5000/neobank")),
    ("images-have-versions", BANK, in_container("image", value="registry.example/neobank:latest")),
    ("images-have-digests", BANK, in_container("image", value="registry.example/neobank:1.0")),
    ("images-have-digests", DATABASE, in_container("image", value="docker.io/library/postgres:16-alpine")),
    ("images-have-versions", DATABASE, in_container("image", value="docker.io/library/postgres:latest")),
    ("servers-have-probes", BANK, in_container("livenessProbe")),
    ("servers-have-probes", BANK, in_container("readinessProbe")),
    ("servers-have-probes", DATABASE, in_container("readinessProbe")),
    (
        "servers-have-probes",
        DATABASE,
        lambda document: pod(document)["initContainers"][0].update(restartPolicy="Always"),
    ),
    ("no-plaintext-secret", "neobank-config", put("data", "DATABASE_URL", value=URL)),
    ("no-plaintext-secret", "neobank-config", put("data", "SECRET_KEY", value="swordfish")),
    ("no-plaintext-secret", "postgres-config", put("data", "server.key", value=KEY)),
    ("no-plaintext-secret", "postgres-config", put("data", "pgbouncer.ini", value=POOLER)),
    ("no-plaintext-secret", BANK, another_variable("DATABASE_URL", URL)),
    ("no-plaintext-secret", BANK, another_variable("PGPASSWORD", "hunter2")),
    ("no-plaintext-secret", JOB, another_variable("ADMIN_PASSWORD", "hunter2")),
    ("no-plaintext-secret", BANK, in_container("args", value=[f"--dsn={URL}"])),
    ("no-plaintext-secret", BANK, in_container("command", value=["gunicorn", f"--dsn={URL}"])),
    ("no-plaintext-secret", BANK, put("metadata", "annotations", "note", value=URL)),
    (
        "no-plaintext-secret",
        BANK,
        lambda document: document["spec"]["template"]["metadata"]["annotations"].update(note=URL),
    ),
    ("nothing-is-reachable-from-outside", "neobank-service", put("spec", "type", value="LoadBalancer")),
    ("nothing-is-reachable-from-outside", "postgres-service", put("spec", "type", value="NodePort")),
    ("nothing-is-reachable-from-outside", "postgres-service", put("spec", "externalIPs", value=["192.0.2.1"])),
    ("nothing-is-reachable-from-outside", "neobank-service", put("spec", "ports", 0, "nodePort", value=30080)),
    ("nothing-is-reachable-from-outside", BANK, in_container("ports", 0, "hostPort", value=80)),
    ("ingresses-have-tls", "neobank-ingress", put("spec", "tls")),
    ("ingresses-have-tls", "neobank-ingress", put("spec", "tls", 0, "hosts", value=["other.example.org"])),
    ("ingresses-have-tls", "neobank-ingress", put("spec", "rules", 0, "host")),
    ("objects-are-labelled", "neobank-config", put("metadata", "labels")),
    ("objects-are-labelled", BANK, put("metadata", "labels", "app.kubernetes.io/managed-by")),
    ("objects-are-labelled", JOB, put("spec", "template", "metadata", "labels", "app.kubernetes.io/component")),
    ("flows-are-narrow", INGRESS_POLICY, put("spec", "ingress", value=[{}])),
    ("flows-are-narrow", INGRESS_POLICY, put("spec", "ingress", 0, "from")),
    ("flows-are-narrow", INGRESS_POLICY, put("spec", "ingress", 0, "from", value=[{"namespaceSelector": {}}])),
    ("flows-are-narrow", INGRESS_POLICY, put("spec", "ingress", 0, "from", 0, value={})),
    ("flows-are-narrow", INGRESS_POLICY, put("spec", "ingress", 0, "ports")),
    ("flows-are-narrow", "allow-dns", put("spec", "egress", 0, "ports", 0, "port", value=443)),
    ("flows-are-narrow", "allow-clients-to-database", put("spec", "egress", 0, "to")),
    ("jobs-end", JOB, put("spec", "activeDeadlineSeconds")),
    ("jobs-end", JOB, put("spec", "backoffLimit")),
    ("namespaces-are-restricted", "namespace", put("metadata", "labels")),
    (
        "namespaces-are-restricted",
        "namespace",
        put("metadata", "labels", "pod-security.kubernetes.io/enforce", value="baseline"),
    ),
    ("accounts-are-not-shared", BANK, in_pod("serviceAccountName", value="postgres-1a2b3c4d")),
    ("traffic-is-denied-by-default", "deny-all", put("spec", "policyTypes", value=["Ingress"])),
    ("traffic-is-denied-by-default", "deny-all", put("spec", "ingress", value=[NAMED])),
    ("traffic-is-denied-by-default", "deny-all", put("spec", "egress", value=[NAMED | {"to": NAMED["from"]}])),
    ("traffic-is-denied-by-default", "deny-all", put("spec", "podSelector", value={"matchLabels": {"a": "b"}})),
    ("several-pods-have-a-budget", "neobank-disruption-budget", put("spec", "selector", value={})),
    (
        "several-pods-have-a-budget",
        "neobank-disruption-budget",
        put("spec", "selector", "matchLabels", "app.kubernetes.io/component", value="other"),
    ),
    ("several-pods-have-a-budget", DATABASE, put("spec", "replicas", value=2)),
]
ADDED: list[tuple[str, str, Document]] = [
    ("no-rights", "kubernetes:rbac.authorization.k8s.io/v1:ClusterRoleBinding", {}),
    ("no-rights", "kubernetes:rbac.authorization.k8s.io/v1:Role", {}),
    (
        "jobs-end",
        "kubernetes:batch/v1:CronJob",
        {"spec": {"jobTemplate": {"spec": {"template": {"spec": {"containers": []}}}}}},
    ),
    ("pods-are-restricted", "kubernetes:core/v1:Pod", {"spec": {"containers": []}}),
]


def broken(program: Program, name: str, change: Callable[[Document], None]) -> list[str]:
    """Change one registered object and return the messages of the violated rules."""
    resources = described(program)
    [target] = [it for it in resources if it.name == name and it.kind]
    document = copy.deepcopy(dict(target.properties))
    change(document)
    changed = Resource(target.type, target.name, document)
    return list(violations([changed if it is target else it for it in resources], production=True))


@pytest.mark.parametrize(("rule", "name", "change"), MUTATIONS)
def test_a_rule_detects_a_changed_object(
    prod: Program, rule: str, name: str, change: Callable[[Document], None]
) -> None:
    messages = broken(prod, name, change)
    broken_rules = {message.split(":")[0] for message in messages}
    assert rule in broken_rules
    assert broken_rules <= {rule, "images-have-digests"}, messages  # an image that floats has no digest, either


@pytest.mark.parametrize(("rule", "kind", "properties"), ADDED)
def test_a_rule_detects_an_added_object(prod: Program, rule: str, kind: str, properties: Document) -> None:
    messages = list(violations([*described(prod), Resource(kind, "added", properties)], production=True))
    assert rule in {message.split(":")[0] for message in messages}


def test_every_rule_has_a_violation_in_the_tables() -> None:
    assert {rule for rule, *_ in [*MUTATIONS, *ADDED]} == ALL_RULES


def test_rules_for_production_do_not_apply_elsewhere(prod: Program) -> None:
    relaxed = [it for it in described(prod) if it.kind not in {"PodDisruptionBudget", "NetworkPolicy"}]
    assert list(violations(relaxed, production=False)) == []
    assert {it.split(":")[0] for it in violations(relaxed, production=True)} == {
        "several-pods-have-a-budget",
        "traffic-is-denied-by-default",
    }


def test_the_path_of_a_secret_file_is_not_reported(prod: Program) -> None:
    assert broken(prod, BANK, another_variable("PGPASSWORD", "/etc/credentials/password")) == []


def test_the_engine_can_install_the_pack_and_its_packages() -> None:
    project = yaml.safe_load((PACK / "PulumiPolicy.yaml").read_text(encoding="utf-8"))
    assert project["runtime"] == {"name": "python", "options": {"toolchain": "pip", "virtualenv": ".venv"}}
    lock = (PACK / "requirements.txt").read_text(encoding="utf-8")
    assert "pulumi-policy==" in lock
    assert lock.count("==") <= lock.count("--hash=sha256:")


@NEEDS_ENGINE
@pytest.mark.skipif(not (PACK / ".venv").is_dir(), reason="`pulumi install` was not run in policy/")
@pytest.mark.parametrize("compliant", [True, False])
def test_the_engine_checks_a_preview_with_the_pack(tmp_path: Path, *, compliant: bool) -> None:
    """The program reads the cluster's identity, so even a preview needs a cluster."""
    if not local.is_up():
        no_cluster("no local cluster is up: run `make cluster` first")
    context = local.kubectl().run("config", "current-context").stdout.strip()
    copy_program(tmp_path)
    if not compliant:
        kube = tmp_path / "infra" / "kube.py"
        kube.write_text(kube.read_text().replace("read_only_root_filesystem=True", "read_only_root_filesystem=False"))
    document = {"config": {f"neobank:{key}": value for key, value in {**PROD, "kubeContext": context}.items()}}
    (tmp_path / "Pulumi.test.yaml").write_text(yaml.safe_dump(document), encoding="utf-8")
    (tmp_path / "state").mkdir()
    environment = os.environ | {
        "NEOBANK_IMAGE": DIGEST_IMAGE,
        "KUBECONFIG": str(KUBECONFIG),
        "PULUMI_BACKEND_URL": (tmp_path / "state").as_uri(),
        "PULUMI_CONFIG_PASSPHRASE": "of a stack that lives for seconds",
        "PULUMI_SKIP_UPDATE_CHECK": "true",
    }

    def pulumi(*words: str) -> subprocess.CompletedProcess[str]:
        command = ["pulumi", *words, "--stack", "test", "--non-interactive", "--color=never"]
        return subprocess.run(
            command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False, timeout=240
        )

    assert pulumi("stack", "init", "--no-select").returncode == 0
    previewed = pulumi("preview", "--policy-pack", str(PACK))
    output = previewed.stdout + previewed.stderr
    assert (previewed.returncode == 0) is compliant, output
    assert ("containers-are-restricted" in output) is not compliant, output
    assert "can't run policy" not in output
