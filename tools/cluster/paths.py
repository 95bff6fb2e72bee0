"""Where the local cluster keeps its state, and where what is expensive to make is cached."""

import os
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parents[2]
LOCAL = CHECKOUT / ".local"
STATE = LOCAL / "cluster"
LOGS = STATE / "logs"
KUBECONFIG = LOCAL / "kubeconfig"


def cache_directory() -> Path:
    """The user's cache, shared by all checkouts and kept when one is deleted."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "neobank"
