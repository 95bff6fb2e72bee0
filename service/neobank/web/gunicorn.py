"""gunicorn's configuration; it is read once, in the master, so that bad settings stop it in one sentence."""

import sys
from pathlib import Path

from neobank.settings import ServingSettings, SettingsError

try:
    _settings = ServingSettings.from_environment()
except SettingsError as error:
    sys.exit(f"neobank: {error}")

bind = f"{_settings.host}:{_settings.port}"
worker_class = "gthread"
workers = _settings.workers
threads = _settings.threads
loglevel = _settings.log_level
worker_tmp_dir = next((folder for folder in ("/dev/shm",) if Path(folder).is_dir()), None)  # noqa: S108  # no disk stalls it
control_socket_disable = True  # it would be made in $HOME, which is read-only
graceful_timeout = 20  # seconds; less than the pod's grace period
keepalive = 75  # seconds; more than a proxy keeps its connections for
