"""PgBouncer in front of the database: who connects through it, which secrets it has, and what rolls it."""

import pytest

from tests.infra.program import Config, Program, generated, merged, rolled, run_prod

ENABLED = {"pgbouncer": {"enabled": True, "image": "registry.example/pgbouncer@sha256:" + 64 * "e"}}
TLS = "/etc/neobank/tls"
KINDS = {"tls", "authority"}
VERIFIED = f"sslmode=verify-full&sslrootcert={TLS}/ca.crt"


def changed(changes: Config) -> Program:
    return run_prod(merged(ENABLED, changes))


@pytest.fixture(scope="module")
def pooled() -> Program:
    return changed({})


def urls(program: Program) -> dict[str, str]:
    entries = {it.object_name: it.inputs["stringData"] for it in program.of_kind("Secret")}
    return {secret: it[name] for secret, it in entries.items() for name in it if name.endswith("_URL")}


def test_only_the_application_connects_through_pgbouncer(pooled: Program, prod: Program) -> None:
    password = generated("neobank_0-password", "1")
    url = f"postgresql://neobank_0:{password}@pgbouncer-service.neotropolis.svc:5432/neobank?{VERIFIED}"
    assert urls(pooled) == {**urls(prod), "neobank-secret": url}
    assert pooled.outputs["databaseHost"] == "postgres-service.neotropolis.svc"
    assert pooled.outputs["databaseUrl"] == prod.outputs["databaseUrl"]
    assert "PgBouncer" in pooled.outputs["summary"]["bank"]
    assert "PgBouncer" not in prod.outputs["summary"]["bank"]


def test_pgbouncer_starts_after_the_database_and_before_the_application(pooled: Program) -> None:
    deployment = pooled.find("Deployment", "pgbouncer-deployment")
    assert pooled.find("Deployment", "postgres-deployment").urn in deployment.depends_on
    assert pooled.find("Deployment", "postgres-deployment").urn in pooled.find("Secret", "pgbouncer-secret").depends_on
    assert deployment.urn in pooled.find("Secret", "neobank-secret").depends_on


def test_pgbouncer_knows_only_the_two_logins_of_the_application() -> None:
    program = changed({"rotation": {"application": {"number": 3}}})
    entries = program.find("Secret", "postgres-secret").inputs["stringData"]
    assert program.find("Secret", "pgbouncer-secret").inputs["stringData"] == {
        "userlist.txt": f'"neobank_0" "{entries["application"]}"\n"neobank_1" "{entries["application_previous"]}"\n'
    }


def test_pgbouncer_pools_transactions_and_uses_tls_on_both_sides(pooled: Program) -> None:
    text = pooled.find("ConfigMap", "pgbouncer-config").inputs["data"]["pgbouncer.ini"]
    databases, settings = text.split("[pgbouncer]\n")
    assert databases == "[databases]\nneobank = host=postgres-service.neotropolis.svc port=5432\n"
    found = dict(line.split(" = ") for line in settings.splitlines() if " = " in line)
    assert found["pool_mode"] == "transaction"
    assert (found["default_pool_size"], found["max_db_connections"]) == ("20", "20")
    assert int(found["max_client_conn"]) > (6 + 1) * 2 * 8  # one PgBouncer may have all connections
    assert (found["server_tls_sslmode"], found["server_tls_ca_file"]) == ("verify-full", f"{TLS}/ca.crt")
    assert (found["client_tls_sslmode"], found["client_tls_key_file"]) == ("require", f"{TLS}/tls.key")
    unencrypted = changed({"production": False, "postgres": {"tls": False}})
    assert "tls" not in unencrypted.find("ConfigMap", "pgbouncer-config").inputs["data"]["pgbouncer.ini"]
    assert urls(unencrypted)["neobank-secret"].endswith("@pgbouncer-service.neotropolis.svc:5432/neobank")


def test_pgbouncer_has_its_own_certificate_from_the_same_authority(pooled: Program) -> None:
    signed = {it.name: it.inputs for it in pooled.of_kind("LocallySignedCert")}
    assert signed.keys() == {"postgres-certificate-1", "pgbouncer-certificate-1"}
    assert len({it["caCertPem"] for it in signed.values()}) == 1
    assert len(pooled.of_kind("SelfSignedCert")) == 1
    request = pooled.find("CertRequest", "pgbouncer-request-1").inputs
    assert "pgbouncer-service.neotropolis.svc" in request["dnsNames"]
    assert not set(request["dnsNames"]) & set(pooled.find("CertRequest", "postgres-request-1").inputs["dnsNames"])
    own, servers = (pooled.find("Secret", name).inputs["stringData"] for name in ("pgbouncer-tls", "postgres-tls"))
    assert own["ca.crt"] == servers["ca.crt"]
    assert own["tls.key"] != servers["tls.key"]
    mounted = {
        name: {it["projected"]["sources"][0]["secret"]["name"] for it in pod["spec"]["volumes"] if it["name"] in KINDS}
        for name, pod in pooled.pods()
    }
    assert mounted["pgbouncer-deployment"] == {"pgbouncer-tls"}
    assert mounted["neobank-deployment"] == mounted["postgres-deployment"] == {"postgres-tls"}


def test_a_given_tls_secret_is_used_by_both_servers(pooled: Program) -> None:
    program = changed({"postgres": {"tlsSecret": "own"}})
    [tls] = [
        it["projected"]["sources"]
        for it in dict(program.pods())["pgbouncer-deployment"]["spec"]["volumes"]
        if it["name"] == "tls"
    ]
    assert tls == [{"secret": {"name": "own"}}]
    assert not [it for it in program.resources if it.type.startswith("tls:")]
    assert [it for it in pooled.resources if it.type.startswith("tls:")]


@pytest.mark.parametrize(
    ("change", "others"),
    [
        ({"rotation": {"application": {"number": 2}}}, {"postgres-deployment", "neobank-deployment"}),
        ({"rotation": {"tls": {"number": 2}}}, {"postgres-deployment"}),
        ({"pgbouncer": {"connections": 19}}, set()),
        ({"application": {"connections": 9}}, {"neobank-deployment"}),
    ],
)
def test_a_new_password_certificate_or_setting_rolls_pgbouncer(
    pooled: Program, change: Config, others: set[str]
) -> None:
    assert rolled(pooled, changed(change)) == {"pgbouncer-deployment", *others}


def test_pgbouncer_runs_the_stacks_image_and_cannot_write(pooled: Program) -> None:
    described = dict(pooled.containers())["pgbouncer-deployment/pgbouncer"]
    assert described["image"] == "registry.example/pgbouncer@sha256:" + 64 * "e"
    assert described["command"] == ["pgbouncer", "/etc/neobank/pgbouncer/pgbouncer.ini"]
    assert all(it["readOnly"] for it in described["volumeMounts"])
    assert "env" not in described
    spec = pooled.find("Deployment", "pgbouncer-deployment").inputs["spec"]
    assert spec["replicas"] == 2
    assert spec["strategy"] == {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}}


def test_a_drain_takes_one_pgbouncer_pod_at_a_time(pooled: Program) -> None:
    budget = pooled.find("PodDisruptionBudget", "pgbouncer-disruption-budget").inputs["spec"]
    labels = dict(pooled.pods())["pgbouncer-deployment"]["metadata"]["labels"]
    assert (budget["maxUnavailable"], budget["selector"]["matchLabels"]) == (1, labels)
    single = changed({"production": False, "pgbouncer": {"replicas": 1}})
    assert [it.name for it in single.of_kind("PodDisruptionBudget")] == ["neobank-disruption-budget"]


def test_the_pgbouncer_service_selects_only_its_own_pods(pooled: Program) -> None:
    spec = pooled.find("Service", "pgbouncer-service").inputs["spec"]
    reached = [name for name, pod in pooled.pods() if spec["selector"].items() <= pod["metadata"]["labels"].items()]
    assert reached == ["pgbouncer-deployment"]
    assert spec["ports"] == [{"name": "postgres", "port": 5432, "targetPort": "postgres"}]
    assert spec["type"] == "ClusterIP"


def test_without_pgbouncer_none_of_its_objects_exist(prod: Program) -> None:
    assert not [it.urn for it in prod.resources if "pgbouncer" in it.name or "pooler" in it.name]
