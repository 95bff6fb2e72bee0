"""A cluster by kind, where a container engine runs. Its kubeconfig is ours, never the home directory's."""

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


def is_available() -> bool:
    """Whether kind is installed and a container engine answers."""
    return shutil.which("kind") is not None and running_engine() is not None


def cluster_name() -> str:
    """The cluster's name, which belongs to this checkout alone."""
    return f"neobank-{hashlib.sha256(bytes(CHECKOUT)).hexdigest()[:8]}"


def kubectl() -> Kubectl:
    """The kubectl on PATH. Raises UserError when there is none."""
    found = shutil.which("kubectl")
    if found is None:
        raise UserError("kind is here but kubectl is not: install kubectl and try again.")
    return Kubectl(Path(found), KUBECONFIG)


def exists() -> bool:
    """Whether kind knows the cluster, alive or dead."""
    result = _kind("get", "clusters", capture=True)
    return cluster_name() in result.stdout.split()


def is_up() -> bool:
    """Whether the cluster exists and answers."""
    return KUBECONFIG.exists() and exists() and kubectl().answers()


def start() -> None:
    """Makes the cluster anew, and returns when its node is ready. Raises UserError when kind fails."""
    kubectl()
    remove()
    KUBECONFIG.parent.mkdir(exist_ok=True)
    _kind("create", "cluster", f"--name={cluster_name()}", f"--kubeconfig={KUBECONFIG}", f"--wait={READY_TIMEOUT}")


def remove() -> None:
    """Deletes the cluster, if there is one. Raises UserError when kind fails."""
    if exists():
        _kind("delete", "cluster", f"--name={cluster_name()}", f"--kubeconfig={KUBECONFIG}")
    KUBECONFIG.unlink(missing_ok=True)


def load(reference: str) -> None:
    """Copies an image of the container engine into the cluster's node. Raises UserError when it cannot."""
    engine = running_engine()
    if engine is None:
        raise UserError("the container engine that runs the cluster does not answer; start it and try again.")
    name = qualified(reference)
    with tempfile.TemporaryDirectory() as folder:
        archive = Path(folder, "image.tar")
        # Podman calls a short name localhost/…, where no pod would look for it.
        for command in (["tag", reference, name], ["save", f"--output={archive}", name]):
            if subprocess.run([engine, *command], check=False).returncode != 0:
                raise UserError(f"`{engine} {' '.join(command)}` failed; what it said stands above.")
        _kind("load", "image-archive", str(archive), f"--name={cluster_name()}")


def _kind(*arguments: str, capture: bool = False) -> subprocess.CompletedProcess[str]:
    provider = {"KIND_EXPERIMENTAL_PROVIDER": engine} if (engine := running_engine()) else {}
    result = subprocess.run(
        ["kind", *arguments],
        check=False,
        text=True,
        stdout=subprocess.PIPE if capture else None,
        env=os.environ | provider,
    )
    if result.returncode != 0:
        raise UserError(f"`kind {' '.join(arguments)}` failed; what it said stands above.")
    return result
