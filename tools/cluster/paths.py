"""The folders of the local cluster's state, and the cache of what is expensive to build."""

import os
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parents[2]
LOCAL = CHECKOUT / ".local"
STATE = LOCAL / "cluster"
LOGS = STATE / "logs"
KUBECONFIG = LOCAL / "kubeconfig"


def cache_directory() -> Path:
    """Return the folder in the user's cache. All checkouts share it, and it survives their deletion."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "neobank"
