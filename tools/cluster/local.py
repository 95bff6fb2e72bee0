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
            if node.exists():
                _load_images()  # an earlier version of this checkout may have started the node
            print(f"The local cluster is up already: KUBECONFIG={KUBECONFIG}")
            return
        if node.exists() or not kind.is_available() or not _started_kind():
            preflight.check()
            _timed("Programs available", programs)
            _timed("Images available", _build_images)
            _timed("Node started", node.start)
            _timed("Node usable", lambda: node.wait_until_usable(_load_images))
    print(f"The local cluster is up: KUBECONFIG={KUBECONFIG}")


def _started_kind() -> bool:
    """Return whether kind created a cluster. Raise its UserError if the built-in node is not possible either."""
    try:
        kind.start()
    except UserError as failure:
        try:
            preflight.check()
        except UserError:
            raise failure from None
        print(f"kind cannot create a cluster here, so this repository's own node is started. {failure}", flush=True)
        return False
    return True


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
        node.wait_until_usable(_load_images)


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


def engine() -> str | None:
    """Return the container engine from whose store `load` takes images; None is buildah's store in the user's cache.

    The cluster alone decides that: the built-in node loads from buildah's store whatever else is installed.
    Raise UserError if the engine that runs kind's cluster does not answer.
    """
    return None if node.exists() else kind.engine()


def load(reference: str) -> None:
    """Load an image into the cluster, from the store that `engine` names. Raise UserError if that fails."""
    if node.exists():
        _load(buildah.stored(reference), images.qualified(reference))
    else:
        kind.load(reference)


def pinned(reference: str) -> str:
    """Tag a loaded image with a name that contains its digest, as a registry would, and return that name.

    Raise UserError if the cluster is not the built-in node.
    """
    name = images.qualified(reference)
    digest = _images("list", f"name=={name}").splitlines()[1].split()[2]
    by_digest = f"{name.rpartition(':')[0]}@{digest}"
    _images("tag", "--force", name, by_digest)
    return by_digest


def _build_images() -> None:
    """Build what a node without a registry cannot pull: the pause image and the substitute for PostgreSQL's image."""
    images.pause_image()
    images.postgres_image()


def _load_images() -> None:
    _load(images.pause_image(), components.PAUSE_IMAGE)
    _load(images.postgres_image(), POSTGRES)


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
