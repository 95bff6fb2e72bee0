"""The service's image: build it, tag it with a hash of its contents, and load it into the local cluster."""

import subprocess
import sys
import tomllib

from tools.cluster import buildah, images, local
from tools.cluster.paths import CHECKOUT
from tools.errors import UserError

# The Pulumi program's own function computes the tag. Its folder is not a package, because the engine runs it as is.
sys.path.append(str(CHECKOUT / "infra"))
from image import ImageError, image_tag

CONTEXT = CHECKOUT / "service"
CONTAINERFILE = CHECKOUT / "Containerfile"
CONTRACT = CONTEXT / "neobank" / "contract.toml"
BASE_ARGUMENT = "BASE_IMAGE"


def reference() -> str:
    """Return the image's reference, `repository:hash of the build context`. Raise UserError if a part is missing."""
    contract = tomllib.loads(CONTRACT.read_text(encoding="utf-8"))
    try:
        return f"{contract['image']['repository']}:{image_tag(CONTEXT, CONTAINERFILE)}"
    except ImageError as error:
        raise UserError(str(error)) from error


def deliver() -> str:
    """Build the image, load it into the local cluster, and return its reference.

    Raise UserError if the build fails, or if no local cluster is running.
    """
    wanted = reference()
    if not local.is_up():
        raise UserError(
            "the local cluster is not running: start it with `make cluster`; "
            "for another cluster, push the image to a registry and set NEOBANK_IMAGE."
        )
    build(wanted, local.engine())
    local.load(wanted)
    return wanted


def build(wanted: str, engine: str | None) -> None:
    """Build the image with a container engine, or with buildah if that is None, unless it is in that store already.

    Raise UserError if the build fails.
    """
    if engine is None:
        _build_with_buildah(wanted)
    else:
        _build_with_engine(engine, wanted)


def _build_with_engine(engine: str, wanted: str) -> None:
    if subprocess.run([engine, "image", "inspect", wanted], check=False, capture_output=True).returncode == 0:
        return
    command = [engine, "build", f"--file={CONTAINERFILE}", f"--tag={wanted}", str(CONTEXT)]
    # The build's output goes to standard error: standard output carries only the reference.
    if subprocess.run(command, check=False, stdout=sys.stderr).returncode != 0:
        raise UserError(f"{engine} could not build the image: its output above has the reason.")


def _build_with_buildah(wanted: str) -> None:
    if not buildah.has(buildah.stored(wanted)):
        print(f"Building the image {wanted} …", file=sys.stderr, flush=True)
        base = {BASE_ARGUMENT: images.base_image()}
        buildah.build(buildah.stored(wanted), containerfile=CONTAINERFILE, context=CONTEXT, arguments=base)


def main() -> None:
    """Build the image, load it into the local cluster, and print its reference."""
    try:
        print(deliver())
    except UserError as error:
        sys.exit(f"image: {error}")


if __name__ == "__main__":
    main()
