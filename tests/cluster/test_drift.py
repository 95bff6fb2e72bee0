"""`make drift` on a real cluster: each object that was changed by hand is named, and no other."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cluster.kubectl import Kubectl
from tests.infra.program import run_prod
from tools import drift
from tools.engine import Document, Resource
from tools.target import Target

NAMESPACE = "neobank-drift"
KINDS = (
    "ConfigMap",
    "CronJob",
    "HorizontalPodAutoscaler",
    "Ingress",
    "Job",
    "NetworkPolicy",
    "PersistentVolumeClaim",
    "PodDisruptionBudget",
    "Secret",
    "Service",
    "ServiceAccount",
)
POLICY = "networkpolicy/allow-bank-from-ingress"


@pytest.fixture(scope="module")
def kubectl(cluster: Path) -> Kubectl:
    return Kubectl(cluster)


@pytest.fixture(scope="module")
def target(cluster: Path, tmp_path_factory: pytest.TempPathFactory) -> Target:
    return Target("", {"KUBECONFIG": str(cluster), "HOME": str(tmp_path_factory.mktemp("home"))})


@pytest.fixture(scope="module")
def objects(kubectl: Kubectl) -> Iterator[list[Resource]]:
    """The objects of production except the Deployments, created without the engine."""
    kubectl.delete("namespace", "", NAMESPACE)
    kubectl.run("create", "namespace", NAMESPACE)
    documents = []
    for it in run_prod({"namespace": NAMESPACE, "createNamespace": False}).of_kind(*KINDS):
        document = it.inputs
        document["metadata"].setdefault("name", f"{it.name}-1a2b3c4d")
        documents.append(document)
    kubectl.run("create", "--filename=-", stdin=json.dumps({"apiVersion": "v1", "kind": "List", "items": documents}))
    yield [Resource({"urn": "urn", "type": f"kubernetes:v1:{it['kind']}", "inputs": it}) for it in documents]
    kubectl.run("delete", "namespace", NAMESPACE, "--wait=false")


def patch(kubectl: Kubectl, name: str, change: Document) -> None:
    kubectl.run("patch", name, f"--namespace={NAMESPACE}", "--type=merge", f"--patch={json.dumps(change)}")


def test_unchanged_objects_are_not_reported(objects: list[Resource], target: Target) -> None:
    assert {it.inputs["kind"] for it in objects} == set(KINDS)
    assert list(drift.drift(objects, target)) == []


@pytest.mark.parametrize(
    ("name", "change", "path"),
    [
        ("networkpolicy/deny-all", {"spec": {"ingress": [{}]}}, "spec.ingress"),
        (POLICY, {"spec": {"ingress": [{}]}}, "spec.ingress[0].from"),
        (
            POLICY,
            {
                "spec": {
                    "ingress": [{"from": [{"podSelector": {}}, {"namespaceSelector": {}}], "ports": [{"port": 5000}]}]
                }
            },
            "spec.ingress[0].from",
        ),
        (POLICY, {"spec": {"podSelector": {"matchLabels": {"no": "pod"}}}}, "spec.podSelector.matchLabels.no"),
        ("service/neobank-service", {"spec": {"selector": {"app": "other"}}}, "spec.selector.app"),
        ("service/neobank-service", {"spec": {"externalTrafficPolicy": None, "type": "NodePort"}}, "spec.type"),
        ("configmap/neobank-config", {"data": {"PORT": "1"}}, "data.PORT"),
        ("secret/neobank-secret", {"data": {"SECRET_KEY": "AAAA"}}, "data.SECRET_KEY"),
        ("configmap/neobank-config", {"metadata": {"labels": {"app.kubernetes.io/name": "x"}}}, "metadata.labels"),
        ("horizontalpodautoscaler/neobank-autoscaler", {"spec": {"maxReplicas": 60}}, "spec.maxReplicas"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_change_by_hand_is_named(
    objects: list[Resource], target: Target, kubectl: Kubectl, name: str, change: Document, path: str
) -> None:
    [own] = [it.inputs for it in objects if name.casefold() == f"{it.inputs['kind']}/{_named(it)}".casefold()]
    patch(kubectl, name, change)
    try:
        found = list(drift.drift(objects, target))
    finally:
        kubectl.run("replace", "--filename=-", stdin=json.dumps(own))
    assert found
    assert {line.split(": ")[0] for line in found} == {f"{own['kind']} {own['metadata']['name']}"}
    assert any(line.split(": ", 1)[1].startswith(path) for line in found), found
    assert "AAAA" not in "".join(found)
    assert list(drift.drift(objects, target)) == []


def _named(resource: Resource) -> str:
    name: str = resource.inputs["metadata"]["name"]
    return name


def test_a_deleted_object_and_a_foreign_policy_are_named(
    objects: list[Resource], target: Target, kubectl: Kubectl
) -> None:
    """Policies add up: one more allows traffic, whatever the others say."""
    [policy] = [it.inputs for it in objects if _named(it) == "allow-dns"]
    foreign = policy | {
        "metadata": {"name": "open", "namespace": NAMESPACE},
        "spec": {"podSelector": {}, "ingress": [{}]},
    }
    kubectl.run("create", "--filename=-", stdin=json.dumps(foreign))
    kubectl.delete("networkpolicy", NAMESPACE, "allow-dns")
    try:
        assert list(drift.drift(objects, target)) == [
            "NetworkPolicy allow-dns does not exist.",
            "NetworkPolicy open is not the stack's, and may allow traffic that the stack denies.",
        ]
    finally:
        kubectl.delete("networkpolicy", NAMESPACE, "open")
        kubectl.run("create", "--filename=-", stdin=json.dumps(policy))
