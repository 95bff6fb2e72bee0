"""The node's network: a namespace connected to the host by one veth pair, both named after the checkout.

The addresses come from 198.18.0.0/15, which is reserved for benchmark networks, so that no real network has them. An
`unreachable` route is the fallback for the pair: while the link is missing, this machine refuses packets to the node
instead of sending them out. The node can't reach anything beyond the host: its default route has no gateway.
"""

import hashlib
import ipaddress
import json
import subprocess
from dataclasses import asdict, dataclass
from pathlib import Path

from tools.errors import UserError

LABORATORY = ipaddress.IPv4Network("198.18.0.0/15")
PREFIX_LENGTH = 30
PODS = "10.244.0.0/16"
SERVICES = "10.96.0.0/16"
API_SERVICE = "10.96.0.1"
DNS_SERVICE = "10.96.0.10"
RECORD = "link.json"


@dataclass(frozen=True)
class Link:
    """Names and addresses of the pair. They differ between checkouts and never change within one."""

    namespace: str
    interface: str
    host: str
    node: str

    @property
    def path(self) -> Path:
        """The argument of `nsenter --net=`."""
        return Path("/run/netns", self.namespace)

    @property
    def subnet(self) -> str:
        """The link's network, in CIDR notation."""
        return str(ipaddress.IPv4Interface(f"{self.host}/{PREFIX_LENGTH}").network)

    def save(self, state: Path) -> None:
        """Record the link in the state folder, so that a later `remove` finds it."""
        (state / RECORD).write_text(json.dumps(asdict(self)))


def link_of(checkout: Path) -> Link:
    """Derive the link from the checkout's path."""
    digest = hashlib.sha256(bytes(checkout)).hexdigest()
    size = 2 ** (32 - PREFIX_LENGTH)
    first = LABORATORY[int(digest, 16) % (LABORATORY.num_addresses // size) * size]
    name = digest[:8]
    return Link(namespace=f"neobank-{name}", interface=f"nb{name}", host=str(first + 1), node=str(first + 2))


def recorded_link(state: Path) -> Link | None:
    """Return the link recorded in the state folder, or None without a valid record."""
    try:
        return Link(**json.loads((state / RECORD).read_text()))
    except (FileNotFoundError, ValueError, TypeError):
        return None


def create(link: Link) -> None:
    """Create the namespace and the pair, and bring both ends up. Raise UserError if a command fails."""
    inside = ("ip", "-netns", link.namespace)
    _run("ip", "netns", "add", link.namespace)
    _run("ip", "route", "replace", "unreachable", link.subnet, "metric", "4096")
    _run("ip", "link", "add", link.interface, "type", "veth", "peer", "name", "eth0", "netns", link.namespace)
    _run(*inside, "address", "add", f"{link.node}/{PREFIX_LENGTH}", "dev", "eth0")
    _run(*inside, "link", "set", "lo", "up")
    _run(*inside, "link", "set", "eth0", "up")
    # Service addresses need a route before kube-proxy's rules rewrite them. No host on the link answers for them.
    _run(*inside, "route", "add", "default", "dev", "eth0", "src", link.node)
    _run("nsenter", f"--net={link.path}", "sysctl", "-q", "-w", "net.ipv4.ip_forward=1")
    _run("ip", "address", "add", f"{link.host}/{PREFIX_LENGTH}", "dev", link.interface)
    _run("ip", "link", "set", link.interface, "up")


def remove(link: Link) -> None:
    """Remove what exists of the link: the pair before the namespace, otherwise the next start may find half a pair."""
    for command in (
        ("ip", "link", "delete", link.interface),
        ("ip", "netns", "delete", link.namespace),
        ("ip", "route", "delete", "unreachable", link.subnet, "metric", "4096"),
    ):
        subprocess.run(command, check=False, capture_output=True)


def exists(link: Link) -> bool:
    """Return whether the host's end exists. Without it, nothing may be sent to the node's address."""
    return Path("/sys/class/net", link.interface).exists()


def _run(*command: str) -> None:
    result = subprocess.run(command, check=False, capture_output=True, text=True)
    if result.returncode != 0:
        raise UserError(f"the node's network could not be created: `{' '.join(command)}`: {result.stderr.strip()}")
