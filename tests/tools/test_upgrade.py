"""The pod of the PostgreSQL runbook: the stack's database on another claim, with the usual restrictions."""

import json
import subprocess
import sys
from typing import Any

import kubernetes_validate  # type: ignore[import-untyped]
import pytest

from hardening import Resource, violations
from tests.infra.program import CHECKOUT, DIGEST_IMAGE, Program, merged, run_prod

Document = dict[str, Any]


TAGGED = {"production": False, "postgres": {"image": ""}}
NEXT_IMAGE = "docker.io/library/postgres@sha256:" + "76543210fedcba98" * 4


@pytest.fixture(scope="module")
def program() -> Program:
    return run_prod({**TAGGED, "rotation": {"application": {"number": 2}}})


@pytest.fixture(scope="module")
def prod() -> Program:
    return run_prod()


def listed(program: Program) -> Document:
    return program.listed("Deployment", "Job")


def upgrade(text: str, *words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "tools.upgrade", "--claim", "postgres-17", "--storage", "20Gi", *words]
    return subprocess.run(command, cwd=CHECKOUT, input=text, capture_output=True, text=True, check=False, timeout=60)


def made(program: Program, *words: str) -> tuple[Document, Document]:
    done = upgrade(json.dumps(listed(program)), *words)
    assert done.returncode == 0, done.stderr
    claim, pod = json.loads(done.stdout)["items"]
    return claim, pod


def test_the_server_differs_from_the_stacks_only_in_version_and_claim(program: Program) -> None:
    claim, pod = made(program, "--major", "17")
    own = dict(program.pods())["postgres-deployment"]["spec"]
    for new, old in zip(
        pod["spec"]["initContainers"] + pod["spec"]["containers"][:1],
        own["initContainers"] + own["containers"],
        strict=True,
    ):
        assert new["image"] == "docker.io/library/postgres:17-alpine"
        assert {"name": "PGDATA", "value": "/pgdata/17"} in new["env"]
        assert {**new, "image": "", "env": []} == {**old, "image": "", "env": []}
    assert pod["spec"]["securityContext"] == own["securityContext"]
    claims = [
        it["persistentVolumeClaim"]["claimName"] for it in pod["spec"]["volumes"] if "persistentVolumeClaim" in it
    ]
    assert claims == [claim["metadata"]["name"]] == ["postgres-17"]
    assert claim["spec"]["resources"] == {"requests": {"storage": "20Gi"}}
    assert "storageClassName" not in claim["spec"]


def test_the_tools_containers_have_the_owners_url_and_the_new_servers_programs(program: Program) -> None:
    _, pod = made(program, "--major", "18")
    server, copy, bank = pod["spec"]["containers"]
    assert [it["name"] for it in (server, copy, bank)] == ["postgres", "copy", "bank"]
    assert (copy["image"], bank["image"]) == ("docker.io/library/postgres:18-alpine", DIGEST_IMAGE)
    for container in (copy, bank):
        assert "DATABASE_OWNER_URL" in {it["name"] for it in container["env"]}
        assert container["securityContext"]["runAsUser"] == 10001
    assert copy["envFrom"] == [{"secretRef": {"name": "neobank-backup-secret"}}]
    names = program.outputs["databaseHost"]
    assert pod["spec"]["hostAliases"] == [{"ip": "127.0.0.1", "hostnames": [names]}]
    volumes = {it["name"] for it in pod["spec"]["volumes"]}
    assert len(volumes) == len(pod["spec"]["volumes"])
    assert {mount["name"] for it in pod["spec"]["containers"] for mount in it["volumeMounts"]} <= volumes


def test_another_flavour_has_another_image_and_user(program: Program) -> None:
    _, pod = made(program, "--major", "16", "--flavour", "debian")
    assert pod["spec"]["containers"][0]["image"] == "docker.io/library/postgres:16"
    assert {pod["spec"]["securityContext"][it] for it in ("runAsUser", "runAsGroup", "fsGroup")} == {999}
    _, pod = made(run_prod(merged(TAGGED, {"postgres": {"flavour": "debian"}})), "--major", "17")
    assert pod["spec"]["containers"][0]["image"] == "docker.io/library/postgres:17"


def test_no_service_selects_the_pod_and_the_network_policies_apply_to_it(program: Program) -> None:
    _, pod = made(program, "--major", "17")
    labels = pod["metadata"]["labels"].items()
    assert not [it.name for it in program.of_kind("Service") if it.inputs["spec"]["selector"].items() <= labels]
    assert dict(program.pods())["neobank-db-init"]["metadata"]["labels"].items() <= labels


def test_an_image_with_a_digest_needs_one_with_a_digest(prod: Program) -> None:
    _, pod = made(prod, "--major", "17", "--image", NEXT_IMAGE)
    assert {it["image"] for it in pod["spec"]["containers"] if it["name"] != "bank"} == {NEXT_IMAGE}
    assert pod["spec"]["securityContext"]["runAsUser"] == 70
    refused = upgrade(json.dumps(listed(prod)), "--major", "17")
    assert refused.returncode == 1
    assert "name the image of PostgreSQL 17 with --image" in refused.stderr


def test_the_pod_is_valid_and_complies_with_the_rules(prod: Program) -> None:
    claim, pod = made(prod, "--major", "17", "--storage-class", "fast", "--image", NEXT_IMAGE)
    assert claim["spec"]["storageClassName"] == "fast"
    for document in (claim, pod):
        kubernetes_validate.validate(document, "1.36", strict=True)
    resource = Resource("kubernetes:core/v1:Pod", "postgres-upgrade", pod)
    assert [it for it in violations([resource], production=True) if "NetworkPolicy" not in it] == []


def without_job(document: Document) -> Document:
    return {"items": [it for it in document["items"] if it["kind"] != "Job"]}


@pytest.mark.parametrize(
    ("text", "words", "part"),
    [
        ("{}", ["--major", "17"], "not the JSON of `kubectl get"),
        ("no JSON", ["--major", "17"], "not the JSON of `kubectl get"),
        ('{"items": []}', ["--major", "17"], "no postgres-deployment"),
        ("as it is", ["--major", "16"], "docker.io/library/postgres:16-alpine already"),
        ("without a Job", ["--major", "17"], "no migration Job"),
    ],
)
def test_unusable_input_is_reported_in_one_line(program: Program, text: str, words: list[str], part: str) -> None:
    given = {"as it is": json.dumps(listed(program)), "without a Job": json.dumps(without_job(listed(program)))}
    done = upgrade(given.get(text, text), *words)
    assert (done.returncode, done.stdout) == (1, "")
    assert part in done.stderr
    assert len(done.stderr.splitlines()) == 1
