"""Check whether this machine can run the built-in node. Each reason against it is one sentence."""

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
STILL_WORKS = "`make run` works without a cluster"


def check() -> None:
    """Raise UserError with the first reason why the node can't run here."""
    if sys.platform != "linux":
        raise UserError(f"a local cluster needs Linux, or kind with a running Docker or Podman; {STILL_WORKS}.")
    require_root()
    if not any((CONTROL_GROUPS / tree / "cgroup.procs").exists() for tree in (".", "memory")):
        raise UserError(f"a local cluster needs control groups mounted at {CONTROL_GROUPS}; {STILL_WORKS}.")
    absent = packages.missing()
    if absent:
        command = f"apt-get install --no-install-recommends {' '.join(absent)}"
        raise UserError(f"a local cluster needs Debian packages that are missing here: {command}")
    _check_namespaces()
    _check_space()


def require_root() -> None:
    """Raise UserError if the user is not root."""
    if os.geteuid() != 0:
        raise UserError(f"a local cluster needs root, or kind with a running Docker or Podman; {STILL_WORKS}.")


def _check_namespaces() -> None:
    probe = ["unshare", "--net", "--mount", "--pid", "--fork", "--mount-proc", "mount", "-t", "tmpfs", "tmpfs", "/run"]
    if subprocess.run(probe, check=False, capture_output=True).returncode != 0:
        raise UserError(
            f"a local cluster needs permission to create namespaces, which this machine denies; {STILL_WORKS}."
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
                f"and a local cluster needs {needed / GIBIBYTE:.0f} GiB there: free some space and try again."
            )


def _first_existing(folder: Path) -> Path:
    return next(parent for parent in (folder, *folder.parents) if parent.exists())
