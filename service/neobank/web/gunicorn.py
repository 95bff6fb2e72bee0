"""gunicorn's configuration; it is read once, in the master, so that bad settings stop it in one sentence."""

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

from neobank.monitoring import logs, shared
from neobank.settings import NAMES, MetricsSettings, ServingSettings, SettingsError

try:
    _settings = ServingSettings.from_environment()
    _metrics_folder = MetricsSettings.from_environment().folder
except SettingsError as error:
    sys.exit(f"neobank: {error}")

bind = f"{_settings.host}:{_settings.port}"
worker_class = "gthread"
workers = _settings.workers
threads = _settings.threads
loglevel = _settings.log_level
logconfig_dict = logs.configuration(_settings.log_level)
worker_tmp_dir = next((folder for folder in ("/dev/shm",) if Path(folder).is_dir()), None)  # noqa: S108  # no disk stalls it
control_socket_disable = True  # it would be made in $HOME, which is read-only
graceful_timeout = 20  # seconds; less than the pod's grace period
keepalive = 75  # seconds; more than a proxy keeps its connections for


class _Worker(Protocol):
    place: int


class _Master(Protocol):
    WORKERS: Mapping[int, _Worker]  # the living ones by process id


def on_starting(_master: _Master) -> None:
    """Forget what was counted before this master."""
    if _metrics_folder:
        try:
            shared.empty(_metrics_folder)
        except OSError as error:
            sys.exit(
                f"neobank: {NAMES.metrics_folder} is {str(_metrics_folder)!r}, which can't be used: {error.strerror}."
            )


def pre_fork(master: _Master, worker: _Worker) -> None:
    """Give a new worker the place of a dead one."""
    worker.place = shared.free_place(other.place for other in master.WORKERS.values())


def post_fork(_master: _Master, worker: _Worker) -> None:
    """Let a worker count where all can be added up, before it loads the application."""
    if _metrics_folder:
        shared.write(_metrics_folder, worker.place)


def child_exit(_master: _Master, worker: _Worker) -> None:
    """Forget what a worker had in use, however it ended."""
    if _metrics_folder:
        shared.leave(_metrics_folder, worker.place)
