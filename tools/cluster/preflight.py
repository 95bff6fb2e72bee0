"""Whether this machine can carry a node of our own; each reason against it is one sentence."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

from tools.cluster import build, packages
from tools.cluster.paths import CHECKOUT, cache_directory
from tools.errors import UserError

CONTROL_GROUPS = Path("/sys/fs/cgroup")
GIBIBYTE = 2**30
SPACE_FOR_BUILD = 12 * GIBIBYTE
SPACE_FOR_STATE = 3 * GIBIBYTE
STILL_WORKS = "`make run` needs no cluster and works without one"


def check() -> None:
    """Raises UserError with the first reason why no node can be started here."""
    if sys.platform != "linux":
        raise UserError(f"a local cluster needs Linux, or kind with a Docker or Podman that answers; {STILL_WORKS}.")
    require_root()
    if not any((CONTROL_GROUPS / tree / "cgroup.procs").exists() for tree in (".", "memory")):
        raise UserError(f"a local cluster needs control groups mounted at {CONTROL_GROUPS}; {STILL_WORKS}.")
    absent = packages.missing()
    if absent:
        raise UserError(
            f"a local cluster needs Debian packages: apt-get install --no-install-recommends {' '.join(absent)}"
        )
    _check_namespaces()
    _check_space()


def require_root() -> None:
    """Raises UserError when the user is not root."""
    if os.geteuid() != 0:
        raise UserError(f"a local cluster needs root, or kind with a Docker or Podman that answers; {STILL_WORKS}.")


def _check_namespaces() -> None:
    probe = ["unshare", "--net", "--mount", "--pid", "--fork", "--mount-proc", "mount", "-t", "tmpfs", "tmpfs", "/run"]
    if subprocess.run(probe, check=False, capture_output=True).returncode != 0:
        raise UserError(
            f"a local cluster needs the right to make namespaces, which this machine withholds; {STILL_WORKS}."
        )


def _check_space() -> None:
    needs = [(CHECKOUT, SPACE_FOR_STATE)]
    if not build.is_built():
        needs.append((_first_existing(cache_directory()), SPACE_FOR_BUILD))
    for folder, needed in needs:
        free = shutil.disk_usage(folder).free
        if free < needed:
            raise UserError(
                f"the disk that holds {folder} has {free / GIBIBYTE:.1f} GiB free, "
                f"and a local cluster needs {needed / GIBIBYTE:.0f} GiB there; make room and try again."
            )


def _first_existing(folder: Path) -> Path:
    return next(parent for parent in (folder, *folder.parents) if parent.exists())
