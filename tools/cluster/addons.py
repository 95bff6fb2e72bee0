"""The objects that make a bare control plane a usable cluster: name service, default storage class, permissions."""

import json

from tools.cluster import network
from tools.cluster.components import NODE_NAME
from tools.cluster.network import Link

KubernetesObject = dict[str, object]


def manifest(link: Link) -> str:
    """Return all objects as one List, for `kubectl apply`."""
    items = [*_dns(link), _storage_class(), *_permissions()]
    return json.dumps({"apiVersion": "v1", "kind": "List", "items": items})


def _dns(link: Link) -> list[KubernetesObject]:
    # CoreDNS is a process of the node, not a pod: the Service has no selector, and its endpoint is listed here.
    ports = [{"name": "dns", "port": 53, "protocol": "UDP"}, {"name": "dns-tcp", "port": 53, "protocol": "TCP"}]
    return [
        {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {"name": "kube-dns", "namespace": "kube-system"},
            "spec": {"clusterIP": network.DNS_SERVICE, "ports": ports},
        },
        {
            "apiVersion": "discovery.k8s.io/v1",
            "kind": "EndpointSlice",
            "metadata": {
                "name": "kube-dns-node",
                "namespace": "kube-system",
                "labels": {"kubernetes.io/service-name": "kube-dns"},
            },
            "addressType": "IPv4",
            "ports": ports,
            "endpoints": [{"addresses": [link.node], "conditions": {"ready": True}}],
        },
    ]


def _storage_class() -> KubernetesObject:
    return {
        "apiVersion": "storage.k8s.io/v1",
        "kind": "StorageClass",
        "metadata": {"name": "standard", "annotations": {"storageclass.kubernetes.io/is-default-class": "true"}},
        "provisioner": "kubernetes.io/host-path",
    }


def _permissions() -> list[KubernetesObject]:
    return [
        {
            "apiVersion": "rbac.authorization.k8s.io/v1",
            "kind": "ClusterRole",
            "metadata": {"name": "neobank-local:coredns"},
            "rules": [
                {
                    "apiGroups": ["", "discovery.k8s.io"],
                    "resources": ["endpointslices", "namespaces", "pods", "services"],
                    "verbs": ["list", "watch"],
                }
            ],
        },
        _binding("neobank-local:coredns", "neobank-local:coredns", "system:coredns"),
        # The API server calls the kubelet for exec, logs and port-forward.
        _binding("neobank-local:apiserver-kubelet", "system:kubelet-api-admin", "apiserver-kubelet"),
    ]


def _binding(name: str, role: str, user: str) -> KubernetesObject:
    return {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "ClusterRoleBinding",
        "metadata": {"name": name},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": role},
        "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": user}],
    }


def users() -> dict[str, tuple[str, str | None]]:
    """Return the user and group of each program of the node, by the name of its kubeconfig."""
    return {
        "admin": ("neobank-local-admin", "system:masters"),
        "controller-manager": ("system:kube-controller-manager", None),
        "scheduler": ("system:kube-scheduler", None),
        "kubelet": (f"system:node:{NODE_NAME}", "system:nodes"),
        "kube-proxy": ("system:kube-proxy", None),
        "coredns": ("system:coredns", None),
    }
