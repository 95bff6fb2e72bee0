"""Find the container engine that runs on this machine. A client without a running engine is ignored."""

import shutil
import subprocess

ENGINES = ("docker", "podman")
ANSWER_TIMEOUT = 20.0


def running_engine() -> str | None:
    """Return the name of the first client whose engine answers within ANSWER_TIMEOUT seconds, or None."""
    return next((client for client in ENGINES if _answers(client)), None)


def _answers(client: str) -> bool:
    if shutil.which(client) is None:
        return False
    try:
        # `--version` would succeed with a client alone; listing containers needs the engine.
        result = subprocess.run([client, "ps", "--quiet"], check=False, capture_output=True, timeout=ANSWER_TIMEOUT)
    except (subprocess.TimeoutExpired, OSError):
        return False
    return result.returncode == 0
