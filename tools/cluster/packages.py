"""The Debian packages that the node and its images need, each with a program or file that shows its presence."""

import shutil
from pathlib import Path

PROGRAMS = {
    "buildah": "buildah",
    "containerd": "containerd",
    "etcd": "etcd-server",
    "ip": "iproute2",
    "iptables": "iptables",
    "mmdebstrap": "mmdebstrap",
    "mount": "mount",
    "nsenter": "util-linux",
    "npm": "npm",
    "runc": "runc",
    "sysctl": "procps",
    "unshare": "util-linux",
}
FILES = {
    Path("/usr/lib/cni/ptp"): "containernetworking-plugins",
    Path("/usr/bin/catatonit"): "catatonit",
}


def missing() -> list[str]:
    """Return the packages that are missing on this machine, in alphabetical order."""
    absent = {package for program, package in PROGRAMS.items() if shutil.which(program) is None}
    return sorted(absent | {package for file, package in FILES.items() if not file.exists()})
