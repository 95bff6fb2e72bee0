"""Builds images without a container engine, in a store of its own inside the user's cache."""

import subprocess
from collections.abc import Mapping
from pathlib import Path

from tools.cluster.paths import cache_directory
from tools.errors import UserError

CA_BUNDLE = Path("/etc/ssl/certs/ca-certificates.crt")


def build(reference: str, *, containerfile: Path, context: Path, arguments: Mapping[str, str] | None = None) -> None:
    """Builds the image under the reference. Raises UserError, with the end of the build's output, when it fails."""
    # What a build step downloads is checked against the machine's own authorities, which may include a proxy's.
    bundle = [f"--volume={CA_BUNDLE}:{CA_BUNDLE}:ro"] if CA_BUNDLE.exists() else []
    given = [f"--build-arg={name}={value}" for name, value in (arguments or {}).items()]
    _buildah(
        *("bud", "--isolation=chroot", "--pull-never", "--layers", "--format=docker"),
        *(*bundle, *given, f"--file={containerfile}", f"--tag={reference}", str(context)),
    )


def stored(reference: str) -> str:
    """The name that an image of a short reference bears in the store."""
    return f"localhost/{reference}"


def has(reference: str) -> bool:
    """Whether the store holds the image."""
    return (
        subprocess.run(_command("inspect", "--type=image", reference), check=False, capture_output=True).returncode == 0
    )


def save(reference: str, archive: Path, name: str) -> None:
    """Writes the image to a docker-archive under another name. Raises UserError when it cannot."""
    archive.unlink(missing_ok=True)
    _buildah("push", reference, f"docker-archive:{archive}:{name}")


def _command(*arguments: str) -> list[str]:
    store = cache_directory() / "images"
    return ["buildah", f"--root={store}/storage", f"--runroot={store}/run", *arguments]


def _buildah(*arguments: str) -> None:
    result = subprocess.run(
        _command(*arguments), check=False, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    if result.returncode != 0:
        tail = "\n".join(result.stdout.splitlines()[-15:])
        raise UserError(f"buildah {arguments[0]} failed:\n{tail}")
