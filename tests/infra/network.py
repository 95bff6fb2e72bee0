"""NetworkPolicies evaluated as Kubernetes defines them: which pod reaches which other pod at which port."""

from dataclasses import dataclass
from typing import Any

from tests.infra.program import Program

NAMESPACE = "neotropolis"
OUTSIDE = "an address outside the cluster"


@dataclass(frozen=True)
class Peer:
    """A pod in the cluster, or an address outside it if it has no namespace."""

    name: str
    namespace: str
    labels: frozenset[tuple[str, str]] = frozenset()


def pods(program: Program) -> dict[str, Peer]:
    """Return the program's pods and other peers that might connect, by name."""
    own = {name: Peer(name, NAMESPACE, frozenset(pod["metadata"]["labels"].items())) for name, pod in program.pods()}
    others = [
        Peer("ingress controller", "traefik"),
        Peer("Prometheus", "monitoring"),
        Peer("other pod", "default"),
        Peer("stray pod", NAMESPACE),
        Peer(OUTSIDE, ""),
    ]
    return own | {peer.name: peer for peer in others}


def matches(selector: dict[str, Any], labels: dict[str, str]) -> bool:
    """Evaluate a label selector; an empty one selects every pod."""
    for expression in selector.get("matchExpressions", []):
        assert expression["operator"] == "In"
        if labels.get(expression["key"]) not in expression["values"]:
            return False
    wanted: dict[str, str] = selector.get("matchLabels", {})
    return wanted.items() <= labels.items()


def admits(peers: list[dict[str, Any]], peer: Peer) -> bool:
    """Evaluate `from` or `to`: an empty list means every peer; a pod selector alone means the policy's namespace."""
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
    """Evaluate one direction at one pod: a pod that no policy of that direction selects is not restricted."""
    if pod.namespace != NAMESPACE:
        return True
    mine = [it for it in policies if side in it["policyTypes"] and matches(it["podSelector"], dict(pod.labels))]
    rules = [rule for it in mine for rule in it.get(side.lower()) or []]
    peers = "from" if side == "Ingress" else "to"
    return not mine or any(
        admits(rule.get(peers) or [], other) and opens(rule.get("ports") or [], port) for rule in rules
    )


def opens(ports: list[dict[str, Any]], port: tuple[str, int]) -> bool:
    """Evaluate the ports of a rule: an empty list means every port."""
    return not ports or port in {(it.get("protocol", "TCP"), it["port"]) for it in ports}


PORTS = [("TCP", 53), ("UDP", 53), ("TCP", 5432), ("TCP", 5000), ("TCP", 9464), ("TCP", 443)]


def table(program: Program, without: str = "") -> set[tuple[str, str, str, int]]:
    """Return (source, target, protocol, port) of each possible connection to or from a pod of the program."""
    policies = [it.inputs["spec"] for it in program.of_kind("NetworkPolicy") if it.name != without]
    all_peers = pods(program)
    return {
        (source.name, target.name, *port)
        for source in all_peers.values()
        for target in all_peers.values()
        for port in PORTS
        if NAMESPACE in {source.namespace, target.namespace} and source != target
        if allows(policies, "Egress", source, target, port) and allows(policies, "Ingress", target, source, port)
    }


def dns(program: Program) -> set[tuple[str, str, str, int]]:
    """Return the DNS flows: every pod of the namespace may query any name server outside it."""
    own = [name for name, peer in pods(program).items() if peer.namespace == NAMESPACE]
    servers = [name for name, peer in pods(program).items() if peer.namespace != NAMESPACE]
    return {(name, server, protocol, 53) for name in own for server in servers for protocol in ("TCP", "UDP")}
