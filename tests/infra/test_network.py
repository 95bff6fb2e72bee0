"""Which connections the generated NetworkPolicies allow, and the Ingress."""

import json
from typing import Any

import pytest

from tests.infra.network import NAMESPACE, Peer, allows, dns, table
from tests.infra.program import DIGEST_IMAGE, Config, Program, run_prod

POOLED = {
    "pgbouncer": {"enabled": True, "image": DIGEST_IMAGE},
    "rotation": {"application": {"number": 2}},
}


def test_only_the_listed_flows_and_dns_are_allowed(prod: Program) -> None:
    assert table(prod) - dns(prod) == {
        ("neobank-deployment", "postgres-deployment", "TCP", 5432),
        ("neobank-db-init", "postgres-deployment", "TCP", 5432),
        ("neobank-figures", "postgres-deployment", "TCP", 5432),
        ("neobank-expire", "postgres-deployment", "TCP", 5432),
        ("Prometheus", "neobank-deployment", "TCP", 9464),
        ("Prometheus", "neobank-figures", "TCP", 9464),
        ("ingress controller", "neobank-deployment", "TCP", 5000),
    }
    assert dns(prod) <= table(prod)


def test_with_pgbouncer_the_application_reaches_it_and_not_the_database(prod: Program) -> None:
    pooled = run_prod(POOLED)
    through_pgbouncer = {
        ("neobank-deployment", "pgbouncer-deployment", "TCP", 5432),
        ("neobank-expire", "pgbouncer-deployment", "TCP", 5432),
        ("pgbouncer-deployment", "postgres-deployment", "TCP", 5432),
        ("neobank-db-retire", "postgres-deployment", "TCP", 5432),
    }
    direct = {("neobank-deployment", "postgres-deployment", "TCP", 5432)}
    direct |= {("neobank-expire", "postgres-deployment", "TCP", 5432)}
    assert table(pooled) - dns(pooled) == (table(prod) - dns(prod) - direct) | through_pgbouncer


@pytest.mark.parametrize(("config", "policies"), [({}, 6), (POOLED, 8)], ids=["prod", "pooled"])
def test_each_policy_changes_which_flows_are_allowed(config: Config, policies: int) -> None:
    program = run_prod(config)
    names = [it.name for it in program.of_kind("NetworkPolicy")]
    assert len(names) == policies
    whole = table(program)
    for name in names:
        assert table(program, without=name) != whole, name


SHOP = Peer("shop", NAMESPACE, frozenset({("app", "shop")}))
TILL = Peer("till", NAMESPACE, frozenset({("app", "till")}))
THIEF = Peer("thief", "elsewhere", frozenset({("app", "till")}))
SAFE = {"podSelector": {"matchLabels": {"app": "shop"}}, "policyTypes": ["Ingress"]}
OF_TILLS = {"podSelector": {"matchLabels": {"app": "till"}}}
OF_ELSEWHERE = {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "elsewhere"}}}
AT_80 = {"ports": [{"protocol": "TCP", "port": 80}]}


@pytest.mark.parametrize(
    ("policies", "let_in"),
    [
        ([], {"till", "thief"}),
        ([SAFE], set()),
        ([{**SAFE, "podSelector": {}}], set()),
        ([{**SAFE, "podSelector": OF_TILLS["podSelector"]}], {"till", "thief"}),
        ([{**SAFE, "policyTypes": ["Egress"]}], {"till", "thief"}),
        ([{**SAFE, "ingress": [{}]}], {"till", "thief"}),
        ([{**SAFE, "ingress": [{"from": [OF_TILLS]}]}], {"till"}),
        ([{**SAFE, "ingress": [{"from": [OF_ELSEWHERE]}]}], {"thief"}),
        ([{**SAFE, "ingress": [{"from": [OF_ELSEWHERE, OF_TILLS]}]}], {"till", "thief"}),
        ([{**SAFE, "ingress": [{"from": [OF_ELSEWHERE | OF_TILLS]}]}], {"thief"}),
        ([{**SAFE, "ingress": [{"from": [OF_TILLS], "ports": [{"port": 81}]}]}], set()),
        ([{**SAFE, "ingress": [{"from": [OF_TILLS], **AT_80}]}], {"till"}),
        ([SAFE, {**SAFE, "ingress": [{"from": [OF_TILLS]}]}], {"till"}),
    ],
)
def test_policies_are_evaluated_as_kubernetes_defines_them(policies: list[dict[str, Any]], let_in: set[str]) -> None:
    assert {it.name for it in (TILL, THIEF) if allows(policies, "Ingress", SHOP, it, ("TCP", 80))} == let_in
    text = json.dumps(policies)
    for this, that in (
        ("Ingress", "E_"),
        ("Egress", "Ingress"),
        ("E_", "Egress"),
        ("ingress", "egress"),
        ("from", "to"),
    ):
        text = text.replace(f'"{this}"', f'"{that}"')
    assert {it.name for it in (TILL, THIEF) if allows(json.loads(text), "Egress", SHOP, it, ("TCP", 80))} == let_in


def test_the_dev_stack_has_no_network_policies(dev: Program) -> None:
    assert dev.of_kind("NetworkPolicy") == []


@pytest.mark.parametrize(
    ("change", "certificate", "issuer"),
    [
        ({}, "neobank-tls", "letsencrypt"),
        ({"ingress": {"clusterIssuer": "", "tlsSecret": "own"}}, "own", None),
    ],
)
def test_the_ingress_serves_its_host_over_tls(change: Config, certificate: str, issuer: str | None) -> None:
    program = run_prod(change)
    ingress = program.find("Ingress").inputs
    assert ingress["spec"]["ingressClassName"] == "traefik"
    assert ingress["spec"]["tls"] == [{"hosts": ["bank.example.org"], "secretName": certificate}]
    [rule] = ingress["spec"]["rules"]
    assert rule["host"] == "bank.example.org"
    [path] = rule["http"]["paths"]
    assert path["backend"] == {"service": {"name": "neobank-service", "port": {"name": "http"}}}
    annotations = ingress["metadata"]["annotations"]
    assert annotations.get("cert-manager.io/cluster-issuer") == issuer
    assert annotations["pulumi.com/skipAwait"] == "true"
    assert program.outputs["url"] == "https://bank.example.org"
    assert program.find("ConfigMap", "neobank-config").inputs["data"]["TRUSTED_PROXIES"] == "1"


def test_outside_production_an_ingress_may_be_awaited_and_may_serve_plain_http() -> None:
    plain = {"production": False, "ingress": {"clusterIssuer": "", "wait": True, "className": "", "trustedProxies": 2}}
    program = run_prod(plain)
    ingress = program.find("Ingress").inputs
    assert "tls" not in ingress["spec"]
    assert "ingressClassName" not in ingress["spec"]
    assert "pulumi.com/skipAwait" not in ingress["metadata"].get("annotations", {})
    assert program.outputs["url"] == "http://bank.example.org"
    assert program.find("ConfigMap", "neobank-config").inputs["data"]["TRUSTED_PROXIES"] == "2"


def test_without_an_ingress_no_proxy_header_is_trusted(dev: Program) -> None:
    assert dev.of_kind("Ingress") == []
    assert dev.find("ConfigMap", "neobank-config").inputs["data"]["TRUSTED_PROXIES"] == "0"
