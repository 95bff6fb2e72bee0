"""TLS to PostgreSQL: who has the key, who verifies the server with what, and what a renewal rolls."""

import json
from typing import Any

import pytest

from tests.infra.program import Program, generated, rolled, run_prod, visible

FOLDER = "/etc/neobank/tls"
QUERY = f"?sslmode=verify-full&sslrootcert={FOLDER}/ca.crt"
CLIENTS = {"neobank-deployment/neobank", "neobank-db-init/upgrade"}
CLIENTS |= {"neobank-db-retire/close", "neobank-figures/figures", "neobank-expire/expire"}
SERVERS = {"postgres-deployment/prepare", "postgres-deployment/postgres"}


@pytest.fixture(scope="module")
def rotated() -> Program:
    return changed(rotation={"application": {"number": 2}})


def changed(**keys: Any) -> Program:  # noqa: ANN401
    return run_prod(keys)


def volumes(program: Program, kind: str) -> dict[str, Any]:
    """Return the source of the volume of that name, by the workloads that have one."""
    found = {name: it for name, pod in program.pods() for it in pod["spec"]["volumes"] if it["name"] == kind}
    return {name: volume["projected"] for name, volume in found.items()}


def test_the_certificate_has_the_host_names_that_clients_use(prod: Program) -> None:
    request, signed, authority = (prod.find(kind) for kind in ("CertRequest", "LocallySignedCert", "SelfSignedCert"))
    names = request.inputs["dnsNames"]
    assert names == [f"postgres-service{end}" for end in ("", *(f".neotropolis{it}" for it in ("", *SUFFIXES)))]
    assert prod.outputs["databaseHost"] in names
    assert set(signed.inputs["allowedUses"]) == {"digital_signature", "server_auth"}
    assert authority.inputs["isCaCertificate"] is True
    assert authority.inputs["validityPeriodHours"] >= 10 * signed.inputs["validityPeriodHours"]
    assert {it.inputs["ecdsaCurve"] for it in prod.of_kind("PrivateKey")} == {"P256"}


SUFFIXES = (".svc", ".svc.cluster.local")


def test_every_database_url_verifies_the_server(prod: Program) -> None:
    for secret in prod.of_kind("Secret"):
        entries = secret.inputs["stringData"]
        urls = [value for name, value in entries.items() if name.endswith("_URL")]
        assert all(url.endswith(f".svc:5432/neobank{QUERY}") for url in urls), secret.name
        if "PGHOST" in entries:
            assert entries["PGSSLMODE"] == "verify-full"
            assert entries["PGSSLROOTCERT"] == f"{FOLDER}/ca.crt"
    assert prod.outputs["databaseUrl"].endswith(QUERY)


def test_every_client_has_the_authority_and_only_the_server_has_the_key(rotated: Program) -> None:
    mounts = {
        name: {it["name"] for it in described["volumeMounts"] if it["mountPath"] == FOLDER and it["readOnly"]}
        for name, described in rotated.containers()
    }
    clients = {
        name
        for name, described in rotated.containers()
        if any(it["name"].endswith("_URL") for it in described.get("env", []))
    }
    assert clients == CLIENTS
    assert {name for name, mounted in mounts.items() if mounted == {"authority"}} == CLIENTS
    assert {name for name, mounted in mounts.items() if mounted == {"tls"}} == SERVERS
    assert volumes(rotated, "tls") == {
        "postgres-deployment": {"defaultMode": 0o440, "sources": [{"secret": {"name": "postgres-tls"}}]}
    }
    authority = {"name": "postgres-tls", "items": [{"key": "ca.crt", "path": "ca.crt"}]}
    for projected in volumes(rotated, "authority").values():
        assert projected == {"sources": [{"secret": authority}]}


def test_the_server_gets_the_path_of_its_certificate(prod: Program, dev: Program) -> None:
    for name in SERVERS:
        assert {"name": "NEOBANK_TLS", "value": FOLDER} in dict(prod.containers())[name]["env"]
        assert "NEOBANK_TLS" not in {it["name"] for it in dict(dev.containers())[name]["env"]}


def test_the_authoritys_key_is_not_in_the_cluster_and_is_secret_in_the_state(prod: Program) -> None:
    key = prod.find("PrivateKey", "authority-key")
    made = generated(key.name, json.dumps(key.inputs, sort_keys=True))
    assert [it.name for it in prod.resources if made in json.dumps(it.inputs)] == [
        "authority",
        "postgres-certificate-1",
    ]
    assert not [it.name for it in prod.resources if made in visible(it.raw)]
    entries = prod.find("Secret", "postgres-tls").inputs
    assert entries["type"] == "kubernetes.io/tls"
    assert entries["stringData"].keys() == {"tls.crt", "tls.key", "ca.crt"}


def test_a_renewal_rolls_the_server_but_no_client(prod: Program) -> None:
    renewed = changed(rotation={"tls": {"number": 2}})
    kinds = ("PrivateKey", "SelfSignedCert", "CertRequest", "LocallySignedCert")
    before, after = ({it.name: it.raw for it in program.of_kind(*kinds)} for program in (prod, renewed))
    assert {name: before[name] for name in before.keys() & after.keys()} == {
        name: after[name] for name in ("authority", "authority-key")
    }
    assert after.keys() - before.keys() == {"postgres-key-2", "postgres-request-2", "postgres-certificate-2"}
    assert rolled(prod, renewed) == {"postgres-deployment"}


def test_a_given_tls_secret_replaces_the_generated_certificate(prod: Program) -> None:
    program = changed(postgres={"tlsSecret": "own"})
    assert not [it for it in program.resources if it.type.startswith("tls:")]
    assert "postgres-tls" not in {it.object_name for it in program.of_kind("Secret")}
    assert volumes(program, "tls")["postgres-deployment"]["sources"] == [{"secret": {"name": "own"}}]
    assert volumes(program, "authority").keys() == volumes(prod, "authority").keys()
    assert {it["sources"][0]["secret"]["name"] for it in volumes(program, "authority").values()} == {"own"}
    replaced = changed(postgres={"tlsSecret": "own"}, rotation={"tls": {"number": 2}})
    assert rolled(program, replaced) == {"postgres-deployment"}


def test_without_tls_there_are_no_certificates_and_no_volumes_for_them(dev: Program) -> None:
    assert not [it for it in dev.resources if it.type.startswith("tls:")]
    assert not volumes(dev, "tls")
    assert not volumes(dev, "authority")
    assert not [it.name for it in dev.of_kind("Secret") if "ssl" in json.dumps(it.inputs).lower()]
