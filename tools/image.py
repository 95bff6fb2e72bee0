"""The service's image: built with whatever can build here, named by what it contains, brought to the local cluster."""

import shutil
import subprocess
import sys
import tomllib

from tools.cluster import buildah, images, local
from tools.cluster.engines import running_engine
from tools.cluster.paths import CHECKOUT
from tools.errors import UserError

# The hash is the program's own function, and the program's folder is no package: the engine runs it as it lies there.
sys.path.append(str(CHECKOUT / "infra"))
from image import ImageError, image_tag

CONTEXT = CHECKOUT / "service"
CONTAINERFILE = CHECKOUT / "Containerfile"
CONTRACT = CONTEXT / "neobank" / "contract.toml"
BASE_ARGUMENT = "BASE_IMAGE"


def reference() -> str:
    """The image's reference, `repository:hash of the build context`. Raises UserError when a part of it is missing."""
    contract = tomllib.loads(CONTRACT.read_text(encoding="utf-8"))
    try:
        return f"{contract['image']['repository']}:{image_tag(CONTEXT, CONTAINERFILE)}"
    except ImageError as error:
        raise UserError(str(error)) from error


def deliver() -> str:
    """Builds the image, brings it to the local cluster, and returns its reference.

    Raises UserError when nothing here can build it, when the build fails, and when no local cluster is up.
    """
    wanted = reference()
    if not local.is_up():
        raise UserError(
            "the image goes to the cluster of `make cluster`, which is not up; "
            "for another cluster push it to a registry and set NEOBANK_IMAGE."
        )
    build(wanted)
    local.load(wanted)
    return wanted


def build(wanted: str) -> None:
    """Builds the image under this reference, unless it is there already. Raises UserError when it cannot."""
    engine = running_engine()
    if engine is not None:
        _build_with_engine(engine, wanted)
    elif shutil.which("buildah") is not None:
        _build_with_buildah(wanted)
    else:
        raise UserError(
            "building the image needs Docker or Podman running, or buildah (Debian: apt-get install buildah)."
        )


def _build_with_engine(engine: str, wanted: str) -> None:
    if subprocess.run([engine, "image", "inspect", wanted], check=False, capture_output=True).returncode == 0:
        return
    command = [engine, "build", f"--file={CONTAINERFILE}", f"--tag={wanted}", str(CONTEXT)]
    # What the build says goes to standard error: standard output is the caller's.
    if subprocess.run(command, check=False, stdout=sys.stderr).returncode != 0:
        raise UserError(f"{engine} could not build the image; what it said stands above.")


def _build_with_buildah(wanted: str) -> None:
    if not buildah.has(buildah.stored(wanted)):
        print(f"Building the image {wanted} …", file=sys.stderr, flush=True)
        base = {BASE_ARGUMENT: images.base_image()}
        buildah.build(buildah.stored(wanted), containerfile=CONTAINERFILE, context=CONTEXT, arguments=base)


def main() -> None:
    """Builds the image and brings it to the local cluster; prints its reference."""
    try:
        print(deliver())
    except UserError as error:
        sys.exit(f"image: {error}")


if __name__ == "__main__":
    main()
