"""Who may reach whom: the generated NetworkPolicies, evaluated as Kubernetes defines them, and the Ingress."""

import json
from dataclasses import dataclass
from typing import Any

import pytest

from tests.infra.program import DIGEST_IMAGE, PROD, Config, Program, merged, run

NAMESPACE = "neotropolis"
POOLED = merged(
    PROD,
    {"pgbouncer": {"enabled": True, "image": DIGEST_IMAGE}, "rotation": {"application": {"number": 2}}},
)
OUTSIDE = "an address outside the cluster"


@dataclass(frozen=True)
class Peer:
    """A pod somewhere in the cluster, or an address outside of it where it has no namespace."""

    name: str
    namespace: str
    labels: frozenset[tuple[str, str]] = frozenset()


def pods(program: Program) -> dict[str, Peer]:
    """Give the program's pods and those they could meet."""
    own = {name: Peer(name, NAMESPACE, frozenset(pod["metadata"]["labels"].items())) for name, pod in program.pods()}
    others = [
        Peer("ingress controller", "traefik"),
        Peer("Prometheus", "monitoring"),
        Peer("somebody else", "default"),
        Peer("stray pod", NAMESPACE),
        Peer(OUTSIDE, ""),
    ]
    return own | {peer.name: peer for peer in others}


def matches(selector: dict[str, Any], labels: dict[str, str]) -> bool:
    """Evaluate a label selector; an empty one selects everything."""
    for expression in selector.get("matchExpressions", []):
        assert expression["operator"] == "In"
        if labels.get(expression["key"]) not in expression["values"]:
            return False
    wanted: dict[str, str] = selector.get("matchLabels", {})
    return wanted.items() <= labels.items()


def admits(peers: list[dict[str, Any]], peer: Peer) -> bool:
    """Evaluate `from` or `to`: none at all is everybody; a pod selector alone means the policy's own namespace."""
    if not peers:
        return True
    for rule in peers:
        assert rule.keys() <= {"podSelector", "namespaceSelector"}
        if not peer.namespace:
            continue
        if "namespaceSelector" in rule:
            here = matches(rule["namespaceSelector"], {"kubernetes.io/metadata.name": peer.namespace})
        else:
            here = peer.namespace == NAMESPACE
        if here and matches(rule.get("podSelector", {}), dict(peer.labels)):
            return True
    return False


def allows(policies: list[dict[str, Any]], side: str, pod: Peer, other: Peer, port: tuple[str, int]) -> bool:
    """Evaluate one direction at one pod: whoever no policy of that direction selects is free."""
    if pod.namespace != NAMESPACE:
        return True
    mine = [it for it in policies if side in it["policyTypes"] and matches(it["podSelector"], dict(pod.labels))]
    rules = [rule for it in mine for rule in it.get(side.lower()) or []]
    peers = "from" if side == "Ingress" else "to"
    return not mine or any(
        admits(rule.get(peers) or [], other) and opens(rule.get("ports") or [], port) for rule in rules
    )


def opens(ports: list[dict[str, Any]], port: tuple[str, int]) -> bool:
    """Evaluate the ports of a rule: none at all is every port."""
    return not ports or port in {(it.get("protocol", "TCP"), it["port"]) for it in ports}


PORTS = [("TCP", 53), ("UDP", 53), ("TCP", 5432), ("TCP", 5000), ("TCP", 9464), ("TCP", 443)]


def table(program: Program, without: str = "") -> set[tuple[str, str, str, int]]:
    """List who reaches whom at which port, where one of both is the program's."""
    policies = [it.inputs["spec"] for it in program.of_kind("NetworkPolicy") if it.name != without]
    everybody = pods(program)
    return {
        (source.name, target.name, *port)
        for source in everybody.values()
        for target in everybody.values()
        for port in PORTS
        if NAMESPACE in {source.namespace, target.namespace} and source != target
        if allows(policies, "Egress", source, target, port) and allows(policies, "Ingress", target, source, port)
    }


def dns(program: Program) -> set[tuple[str, str, str, int]]:
    """Everybody here may ask any name server outside of the namespace."""
    own = [name for name, peer in pods(program).items() if peer.namespace == NAMESPACE]
    servers = [name for name, peer in pods(program).items() if peer.namespace != NAMESPACE]
    return {(name, server, protocol, 53) for name in own for server in servers for protocol in ("TCP", "UDP")}


def test_each_flow_is_allowed_by_name_and_no_other_is(prod: Program) -> None:
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
    pooled = run(POOLED, "prod", DIGEST_IMAGE)
    by_way_of = {
        ("neobank-deployment", "pgbouncer-deployment", "TCP", 5432),
        ("neobank-expire", "pgbouncer-deployment", "TCP", 5432),
        ("pgbouncer-deployment", "postgres-deployment", "TCP", 5432),
        ("neobank-db-retire", "postgres-deployment", "TCP", 5432),
    }
    direct = {("neobank-deployment", "postgres-deployment", "TCP", 5432)}
    direct |= {("neobank-expire", "postgres-deployment", "TCP", 5432)}
    assert table(pooled) - dns(pooled) == (table(prod) - dns(prod) - direct) | by_way_of


@pytest.mark.parametrize(("config", "policies"), [(PROD, 6), (POOLED, 8)], ids=["prod", "pooled"])
def test_no_policy_is_there_for_nothing(config: Config, policies: int) -> None:
    program = run(config, "prod", DIGEST_IMAGE)
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


def test_without_policies_everybody_reaches_everybody(dev: Program) -> None:
    assert dev.of_kind("NetworkPolicy") == []


@pytest.mark.parametrize(
    ("change", "certificate", "issuer"),
    [
        ({}, "neobank-tls", "letsencrypt"),
        ({"ingress": {"clusterIssuer": "", "tlsSecret": "own"}}, "own", None),
    ],
)
def test_the_ingress_serves_its_host_over_tls(change: Config, certificate: str, issuer: str | None) -> None:
    program = run(merged(PROD, change), stack="prod", image=DIGEST_IMAGE)
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


def test_an_ingress_is_waited_for_where_somebody_asks_and_may_be_plain_outside_production() -> None:
    plain = {"production": False, "ingress": {"clusterIssuer": "", "wait": True, "className": "", "trustedProxies": 2}}
    program = run(merged(PROD, plain), stack="prod", image=DIGEST_IMAGE)
    ingress = program.find("Ingress").inputs
    assert "tls" not in ingress["spec"]
    assert "ingressClassName" not in ingress["spec"]
    assert "pulumi.com/skipAwait" not in ingress["metadata"].get("annotations", {})
    assert program.outputs["url"] == "http://bank.example.org"
    assert program.find("ConfigMap", "neobank-config").inputs["data"]["TRUSTED_PROXIES"] == "2"


def test_without_an_ingress_no_header_is_believed(dev: Program) -> None:
    assert dev.of_kind("Ingress") == []
    assert dev.find("ConfigMap", "neobank-config").inputs["data"]["TRUSTED_PROXIES"] == "0"
