"""The cluster of kind, for machines with a container engine. It never writes the home directory's kubeconfig."""

import hashlib
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

from tools.cluster.engines import running_engine
from tools.cluster.images import qualified
from tools.cluster.kubectl import Kubectl
from tools.cluster.paths import CHECKOUT, KUBECONFIG
from tools.errors import UserError

READY_TIMEOUT = "180s"
CHOICE = "NEOBANK_CLUSTER"
"""The variable that excludes kind if it is `node`: CI does not depend on what happens to be installed."""
NODE = "node"


def is_available() -> bool:
    """Return whether kind is installed and a container engine answers, unless CHOICE requires the built-in node."""
    return os.environ.get(CHOICE) != NODE and shutil.which("kind") is not None and running_engine() is not None


def cluster_name() -> str:
    """Return the cluster's name, which is unique to this checkout."""
    return f"neobank-{hashlib.sha256(bytes(CHECKOUT)).hexdigest()[:8]}"


def kubectl() -> Kubectl:
    """Return the kubectl on PATH. Raise UserError if there is none."""
    found = shutil.which("kubectl")
    if found is None:
        raise UserError("kind is installed, but kubectl is not: install kubectl and try again.")
    return Kubectl(Path(found), KUBECONFIG)


def exists() -> bool:
    """Return whether kind lists the cluster, running or not."""
    result = _kind("get", "clusters", capture=True)
    return cluster_name() in result.stdout.split()


def is_up() -> bool:
    """Return whether the cluster exists and answers."""
    return KUBECONFIG.exists() and exists() and kubectl().answers()


def start() -> None:
    """Create the cluster, replace an existing one, and wait until its node is ready. Raise UserError if kind fails."""
    kubectl()
    remove()
    KUBECONFIG.parent.mkdir(exist_ok=True)
    _kind("create", "cluster", f"--name={cluster_name()}", f"--kubeconfig={KUBECONFIG}", f"--wait={READY_TIMEOUT}")


def remove() -> None:
    """Delete the cluster, if there is one. Raise UserError if kind fails."""
    if exists():
        _kind("delete", "cluster", f"--name={cluster_name()}", f"--kubeconfig={KUBECONFIG}")
    KUBECONFIG.unlink(missing_ok=True)


def engine() -> str:
    """Return the container engine that runs the cluster. Raise UserError if none answers."""
    found = running_engine()
    if found is None:
        raise UserError("the container engine that runs the cluster does not answer: start it and try again.")
    return found


def load(reference: str) -> None:
    """Copy an image from the container engine into the cluster's node. Raise UserError if that fails."""
    client = engine()
    name = qualified(reference)
    with tempfile.TemporaryDirectory() as folder:
        archive = Path(folder, "image.tar")
        # Podman stores a short name as localhost/…, and no pod would find the image under that name.
        for command in (["tag", reference, name], ["save", f"--output={archive}", name]):
            if subprocess.run([client, *command], check=False).returncode != 0:
                raise UserError(f"`{client} {' '.join(command)}` failed: its output above has the reason.")
        _kind("load", "image-archive", str(archive), f"--name={cluster_name()}")


def _kind(*arguments: str, capture: bool = False) -> subprocess.CompletedProcess[str]:
    provider = {"KIND_EXPERIMENTAL_PROVIDER": found} if (found := running_engine()) else {}
    result = subprocess.run(
        ["kind", *arguments],
        check=False,
        text=True,
        stdout=subprocess.PIPE if capture else None,
        env=os.environ | provider,
    )
    if result.returncode != 0:
        raise UserError(f"`kind {' '.join(arguments)}` failed: its output above has the reason.")
    return result
