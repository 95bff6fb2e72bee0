"""The local cluster: kind if this machine has a container engine, otherwise the built-in node.

Other tools and the tests use this module and `images`. The rest of the package is internal.
"""

import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from tools.cluster import buildah, components, images, kind, node, preflight
from tools.cluster.build import locked, programs
from tools.cluster.kubectl import Kubectl
from tools.cluster.paths import KUBECONFIG, LOCAL, STATE
from tools.errors import UserError

POSTGRES = "docker.io/library/postgres:16-alpine"


def up() -> None:
    """Start a usable cluster. Keep one that answers; remove a dead one first.

    Raise UserError if this machine can't run a cluster, or if the cluster is not usable in time.
    """
    with _locked():
        if is_up():
            print(f"The local cluster is up already: KUBECONFIG={KUBECONFIG}")
            return
        if not node.exists() and kind.is_available():
            kind.start()
        else:
            preflight.check()
            _timed("Programs available", programs)
            _timed("Node started", node.start)
            _timed("Node usable", lambda: node.wait_until_usable(_load_pause_image))
    print(f"The local cluster is up: KUBECONFIG={KUBECONFIG}")


def down() -> None:
    """Remove the cluster with all its data. Do nothing if there is none."""
    with _locked():
        node.remove()
        if kind.is_available():
            kind.remove()


def restart() -> None:
    """Kill the node, as a power cut would, and start it with its data on disk. Raise UserError as `up` does."""
    with _locked():
        if not node.exists():
            raise UserError("only the built-in node can be restarted, and there is none: run `make cluster` first.")
        node.start()
        node.wait_until_usable(_load_pause_image)


def is_up() -> bool:
    """Return whether this checkout's cluster answers and its node is ready."""
    if node.exists():
        return node.is_up()
    return kind.is_available() and kind.is_up()


def kubectl() -> Kubectl:
    """Return the kubectl of the local cluster."""
    return node.kubectl() if node.exists() else kind.kubectl()


def network_prefix() -> list[str]:
    """Return the prefix of a command that must reach pods and Services by their addresses.

    Raise UserError if the cluster is not the built-in node: kind's network belongs to its engine.
    """
    return node.network_prefix()


def load(reference: str) -> None:
    """Load an image into the cluster under the reference that a pod names: one from `tools.image`, or POSTGRES.

    Raise UserError if that fails.
    """
    if not node.exists():
        # kind's node pulls images of a registry itself.
        if reference != POSTGRES:
            kind.load(reference)
    elif reference == POSTGRES:
        _load(images.postgres_image(), reference)
    else:
        _load(buildah.stored(reference), images.qualified(reference))


def pinned(reference: str) -> str:
    """Tag a loaded image with a name that contains its digest, as a registry would, and return that name.

    Raise UserError if the cluster is not the built-in node.
    """
    name = images.qualified(reference)
    digest = _images("list", f"name=={name}").splitlines()[1].split()[2]
    by_digest = f"{name.rpartition(':')[0]}@{digest}"
    _images("tag", "--force", name, by_digest)
    return by_digest


def _load_pause_image() -> None:
    _load(images.pause_image(), components.PAUSE_IMAGE)


def _load(stored: str, name: str) -> None:
    """Import an image into the node, unless it was imported before: its stored name contains a hash of its content."""
    record = STATE / "images" / name.replace("/", "_")
    if record.exists() and record.read_text() == stored:
        return
    with tempfile.TemporaryDirectory(dir=STATE) as folder:
        archive = Path(folder, "image.tar")
        buildah.save(stored, archive, name)
        _images("import", str(archive))
    record.parent.mkdir(exist_ok=True)
    record.write_text(stored)


def _images(*arguments: str) -> str:
    """Run `ctr images` in the kubelet's namespace of containerd, and return its output."""
    return node.inside("ctr", f"--address={components.CONTAINERD_SOCKET}", "--namespace=k8s.io", "images", *arguments)


@contextmanager
def _locked() -> Iterator[None]:
    LOCAL.mkdir(exist_ok=True)
    with locked(LOCAL / "cluster.lock"):
        yield


def _timed(step: str, action: Callable[[], object]) -> None:
    started = time.monotonic()
    action()
    print(f"{step}: {(time.monotonic() - started) / 60:.1f} min", flush=True)
