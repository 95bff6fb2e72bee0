"""Build images without a container engine, in a separate store in the user's cache."""

import subprocess
from collections.abc import Mapping
from pathlib import Path

from tools.cluster.paths import cache_directory
from tools.errors import UserError

CA_BUNDLE = Path("/etc/ssl/certs/ca-certificates.crt")


def build(reference: str, *, containerfile: Path, context: Path, arguments: Mapping[str, str] | None = None) -> None:
    """Build an image with this reference. Raise UserError, with the end of the build's output, if that fails."""
    # A build step trusts the certificate authorities of this machine, which may include that of a proxy.
    bundle = [f"--volume={CA_BUNDLE}:{CA_BUNDLE}:ro"] if CA_BUNDLE.exists() else []
    given = [f"--build-arg={name}={value}" for name, value in (arguments or {}).items()]
    _buildah(
        *("bud", "--isolation=chroot", "--pull-never", "--layers", "--format=docker"),
        *(*bundle, *given, f"--file={containerfile}", f"--tag={reference}", str(context)),
    )


def stored(reference: str) -> str:
    """Return the name in the store of an image with a short reference."""
    return f"localhost/{reference}"


def has(reference: str) -> bool:
    """Return whether the store contains the image."""
    return (
        subprocess.run(_command("inspect", "--type=image", reference), check=False, capture_output=True).returncode == 0
    )


def save(reference: str, archive: Path, name: str) -> None:
    """Write the image to a docker-archive under another name. Raise UserError if that fails."""
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
        raise UserError(f"`buildah {arguments[0]}` failed; its output ends with:\n{tail}")
