"""The command line and configuration of each program of the node. This module starts nothing.

The programs use the machine's file system, except for three private folders that `supervisor.py` mounts: `/run`,
`/var/log`, and the folder in which the controller-manager's host-path provisioner keeps volumes.
"""

import json
from dataclasses import dataclass
from pathlib import Path

from tools.cluster import network
from tools.cluster.network import Link

NODE_NAME = "neobank-local"
API_PORT = 6443
DNS_DOMAIN = "cluster.local"
PAUSE_IMAGE = "localhost/neobank-pause:1"
CONTAINERD_SOCKET = "/run/containerd/containerd.sock"
PROVISIONED_VOLUMES = "/tmp/hostpath_pv"  # noqa: S108  (fixed in the controller-manager)
CNI_PROGRAMS = "/usr/lib/cni"


@dataclass(frozen=True)
class Node:
    """The values on which the programs' configuration depends."""

    link: Link
    state: Path
    programs: dict[str, Path]

    @property
    def pki(self) -> Path:
        """The folder of certificates and keys."""
        return self.state / "pki"

    @property
    def config(self) -> Path:
        """The folder of configuration files, including kubeconfigs; each start writes them again."""
        return self.state / "config"

    @property
    def server(self) -> str:
        """The API server's URL, for the host and for the node."""
        return f"https://{self.link.node}:{API_PORT}"


def commands(node: Node) -> dict[str, list[str]]:
    """Return the command line of every program, by name."""
    return {
        "etcd": _etcd(node),
        "containerd": ["containerd", f"--config={node.config}/containerd.toml"],
        "kube-apiserver": _api_server(node),
        "kube-controller-manager": _controller_manager(node),
        "kube-scheduler": [
            str(node.programs["kube-scheduler"]),
            f"--kubeconfig={node.config}/scheduler.kubeconfig",
            "--leader-elect=false",
        ],
        "kubelet": [
            str(node.programs["kubelet"]),
            f"--config={node.config}/kubelet.yaml",
            f"--kubeconfig={node.config}/kubelet.kubeconfig",
            f"--root-dir={node.state}/kubelet",
            f"--cert-dir={node.state}/kubelet/pki",
            f"--hostname-override={NODE_NAME}",
            f"--node-ip={node.link.node}",
        ],
        "kube-proxy": [str(node.programs["kube-proxy"]), f"--config={node.config}/kube-proxy.yaml"],
        "coredns": [str(node.programs["coredns"]), f"-conf={node.config}/Corefile"],
    }


def write_configuration(node: Node) -> None:
    """Write the configuration files that the command lines name, except certificates and kubeconfigs."""
    node.config.mkdir(parents=True, exist_ok=True)
    cni = node.config / "cni"
    cni.mkdir(exist_ok=True)
    (cni / "10-pods.conflist").write_text(json.dumps(_pod_network()))
    (node.config / "containerd.toml").write_text(_containerd(node))
    (node.config / "kubelet.yaml").write_text(json.dumps(_kubelet(node), indent=2))
    (node.config / "kube-proxy.yaml").write_text(json.dumps(_kube_proxy(node), indent=2))
    (node.config / "Corefile").write_text(_corefile(node))
    runc = node.config / "runc"
    runc.write_text(_runc())
    runc.chmod(0o755)


def _etcd(node: Node) -> list[str]:
    # This is the loopback of the node's namespace. Pods have other namespaces and can't reach it.
    return [
        "etcd",
        "--name=node",
        f"--data-dir={node.state}/etcd",
        "--listen-client-urls=http://127.0.0.1:2379",
        "--advertise-client-urls=http://127.0.0.1:2379",
        "--listen-peer-urls=http://127.0.0.1:2380",
        "--initial-advertise-peer-urls=http://127.0.0.1:2380",
        "--initial-cluster=node=http://127.0.0.1:2380",
        "--auto-compaction-retention=1",
    ]


def _api_server(node: Node) -> list[str]:
    return [
        str(node.programs["kube-apiserver"]),
        f"--advertise-address={node.link.node}",
        f"--secure-port={API_PORT}",
        "--etcd-servers=http://127.0.0.1:2379",
        f"--service-cluster-ip-range={network.SERVICES}",
        "--authorization-mode=Node,RBAC",
        "--enable-admission-plugins=NodeRestriction",
        f"--client-ca-file={node.pki}/ca.crt",
        f"--tls-cert-file={node.pki}/apiserver.crt",
        f"--tls-private-key-file={node.pki}/apiserver.key",
        f"--service-account-issuer=https://kubernetes.default.svc.{DNS_DOMAIN}",
        f"--service-account-key-file={node.pki}/service-account.pub",
        f"--service-account-signing-key-file={node.pki}/service-account.key",
        f"--kubelet-certificate-authority={node.pki}/ca.crt",
        f"--kubelet-client-certificate={node.pki}/apiserver-kubelet.crt",
        f"--kubelet-client-key={node.pki}/apiserver-kubelet.key",
        # No DNS resolves the node's name: exec, logs and port-forward use its address.
        "--kubelet-preferred-address-types=InternalIP",
    ]


def _controller_manager(node: Node) -> list[str]:
    return [
        str(node.programs["kube-controller-manager"]),
        f"--kubeconfig={node.config}/controller-manager.kubeconfig",
        "--leader-elect=false",
        "--use-service-account-credentials=true",
        f"--service-account-private-key-file={node.pki}/service-account.key",
        f"--root-ca-file={node.pki}/ca.crt",
        "--enable-hostpath-provisioner=true",
        f"--flex-volume-plugin-dir={node.state}/kubelet/volumeplugins",
    ]


def _containerd(node: Node) -> str:
    return f"""\
version = 2
root = "{node.state}/containerd"
state = "/run/containerd"
disabled_plugins = ["io.containerd.internal.v1.opt"]

[grpc]
  address = "{CONTAINERD_SOCKET}"

[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "{PAUSE_IMAGE}"
  # Without CAP_SYS_RESOURCE no process can lower its OOM score, and every sandbox would fail in the attempt.
  restrict_oom_score_adj = true
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "{CNI_PROGRAMS}"
    conf_dir = "{node.config}/cni"
  [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
    runtime_type = "io.containerd.runc.v2"
    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
      BinaryName = "{node.config}/runc"
"""


def _runc() -> str:
    # The provisioner creates a volume's folder as root, with mode 0750: no pod of the `restricted` level can write
    # to it. Every container starts through this script, so the folder becomes writable (as with kind's provisioner)
    # before a pod uses it, and only if owner and mode are still those of the provisioner.
    return f"""\
#!/bin/sh
find {PROVISIONED_VOLUMES} -mindepth 1 -maxdepth 1 -user root -perm 0750 -exec chmod 0777 {{}} +
exec runc "$@"
"""


def _pod_network() -> dict[str, object]:
    # ptp instead of bridge: packets between pods are routed, so Services work without the br_netfilter module.
    # The address leases are in /run, which is empty after each start: no lease outlives its pod.
    leases = {"type": "host-local", "subnet": network.PODS, "dataDir": "/run/cni", "routes": [{"dst": "0.0.0.0/0"}]}
    return {"cniVersion": "0.4.0", "name": "pods", "plugins": [{"type": "ptp", "ipam": leases}]}


def _kubelet(node: Node) -> dict[str, object]:
    return {
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "authentication": {
            "anonymous": {"enabled": False},
            "webhook": {"enabled": True},
            "x509": {"clientCAFile": f"{node.pki}/ca.crt"},
        },
        "authorization": {"mode": "Webhook"},
        "address": node.link.node,
        "tlsCertFile": f"{node.pki}/kubelet-server.crt",
        "tlsPrivateKeyFile": f"{node.pki}/kubelet-server.key",
        "clusterDomain": DNS_DOMAIN,
        "clusterDNS": [network.DNS_SERVICE],
        "resolvConf": "",
        "containerRuntimeEndpoint": f"unix://{CONTAINERD_SOCKET}",
        "volumePluginDir": f"{node.state}/kubelet/volumeplugins",
        # Some hosts mount cgroup v1 beside v2. Their mounts stay unchanged.
        "failCgroupV1": False,
        "cgroupDriver": "cgroupfs",
        "cgroupsPerQOS": False,
        "enforceNodeAllocatable": [],
        "oomScoreAdj": 0,
        "failSwapOn": False,
        # A developer's disk may be nearly full. That must not evict pods.
        "evictionHard": {"imagefs.available": "0%", "nodefs.available": "0%", "nodefs.inodesFree": "0%"},
        "imageGCHighThresholdPercent": 100,
        "imageGCLowThresholdPercent": 99,
    }


def _kube_proxy(node: Node) -> dict[str, object]:
    return {
        "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
        "kind": "KubeProxyConfiguration",
        "clientConnection": {"kubeconfig": f"{node.config}/kube-proxy.kubeconfig"},
        "hostnameOverride": NODE_NAME,
        "mode": "iptables",
        "clusterCIDR": network.PODS,
        "oomScoreAdj": 0,
        # Only the host can set the sizes of the connection table, so kube-proxy must not try.
        "conntrack": {"maxPerCore": 0, "min": 0, "tcpEstablishedTimeout": "0s", "tcpCloseWaitTimeout": "0s"},
    }


def _corefile(node: Node) -> str:
    # The node can't reach name servers outside the cluster. NXDOMAIN at once saves each client a timeout.
    return f"""\
{DNS_DOMAIN}:53 in-addr.arpa:53 {{
    bind {node.link.node}
    errors
    kubernetes {DNS_DOMAIN} in-addr.arpa {{
        kubeconfig {node.config}/coredns.kubeconfig
        pods insecure
    }}
    cache 5
}}
.:53 {{
    bind {node.link.node}
    errors
    template ANY ANY {{
        rcode NXDOMAIN
    }}
}}
"""
