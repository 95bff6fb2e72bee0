"""The local cluster, whichever way this machine carries it: kind with a container engine, or else a node of our own.

This is what other tools and the tests use; nothing else of the package is meant for them, except `images`.
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
    """Leaves a usable cluster behind: one that answers is left as it is, a dead one is cleared away first.

    Raises UserError when the machine can carry none, or when it does not become usable in time.
    """
    with _locked():
        if is_up():
            print(f"The local cluster is up already: KUBECONFIG={KUBECONFIG}")
            return
        if not node.exists() and kind.is_available():
            kind.start()
        else:
            preflight.check()
            _timed("Programs", programs)
            _timed("Node started", node.start)
            _timed("Node usable", lambda: node.wait_until_usable(_load_pause_image))
    print(f"The local cluster is up: KUBECONFIG={KUBECONFIG}")


def down() -> None:
    """Removes the cluster and everything it kept. Does nothing when there is none."""
    with _locked():
        node.remove()
        if kind.is_available():
            kind.remove()


def restart() -> None:
    """Kills the node as a power cut would, and starts it with what it had on disk. Raises UserError as `up` does."""
    with _locked():
        if not node.exists():
            raise UserError("only a node of our own can be restarted, and there is none; run `make cluster` first.")
        node.start()
        node.wait_until_usable(_load_pause_image)


def is_up() -> bool:
    """Whether a cluster of ours answers and its node is ready."""
    if node.exists():
        return node.is_up()
    return kind.is_available() and kind.is_up()


def kubectl() -> Kubectl:
    """The kubectl of the local cluster."""
    return node.kubectl() if node.exists() else kind.kubectl()


def network_prefix() -> list[str]:
    """What to put before a client's command line so that it reaches pods and Services by their addresses.

    Raises UserError when the cluster is not a node of our own: kind's network belongs to its engine.
    """
    return node.network_prefix()


def load(reference: str) -> None:
    """Brings an image to the cluster, under the very reference that a pod names: what `tools.image` built, or POSTGRES.

    Raises UserError when it cannot.
    """
    if not node.exists():
        # What a registry offers, kind's node pulls for itself.
        if reference != POSTGRES:
            kind.load(reference)
    elif reference == POSTGRES:
        _load(images.postgres_image(), reference)
    else:
        _load(buildah.stored(reference), images.qualified(reference))


def pinned(reference: str) -> str:
    """Gives an image that was loaded a name by its digest, which no registry has given it, and returns that.

    Raises UserError when the cluster is not a node of our own.
    """
    name = images.qualified(reference)
    digest = _images("list", f"name=={name}").splitlines()[1].split()[2]
    by_digest = f"{name.rpartition(':')[0]}@{digest}"
    _images("tag", "--force", name, by_digest)
    return by_digest


def _load_pause_image() -> None:
    _load(images.pause_image(), components.PAUSE_IMAGE)


def _load(stored: str, name: str) -> None:
    """Imports an image into the node, unless this very one was: its stored name says what it contains."""
    record = STATE / "images" / name.replace("/", "_")
    if record.exists() and record.read_text() == stored:
        return
    with tempfile.TemporaryDirectory(dir=STATE) as folder:
        archive = Path(folder, "image.tar")
        buildah.save(stored, archive, name)
        _images("import", str(archive))
    record.parent.mkdir(exist_ok=True)
    record.write_text(stored)


def _images(*words: str) -> str:
    """Does something with containerd's images, as far as the kubelet knows them."""
    return node.inside("ctr", f"--address={components.CONTAINERD_SOCKET}", "--namespace=k8s.io", "images", *words)


@contextmanager
def _locked() -> Iterator[None]:
    LOCAL.mkdir(exist_ok=True)
    with locked(LOCAL / "cluster.lock"):
        yield


def _timed(what: str, action: Callable[[], object]) -> None:
    started = time.monotonic()
    action()
    print(f"{what}: {(time.monotonic() - started) / 60:.1f} min", flush=True)
