"""gunicorn's configuration. The master loads it once, so that an invalid setting stops it with one error message."""

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

from neobank.monitoring import logs, shared
from neobank.serving.connections import COUNTS
from neobank.serving.memory import return_freed_memory
from neobank.settings import NAMES, MetricsSettings, ServingSettings, SettingsError

try:
    _settings = ServingSettings.from_environment()
    _metrics_folder = MetricsSettings.from_environment().folder
except SettingsError as error:
    sys.exit(f"neobank: {error}")

bind = f"{_settings.host}:{_settings.port}"
worker_class = "neobank.serving.worker.Worker"
asgi_loop = "asyncio"
asgi_lifespan = "off"
workers = _settings.workers
threads = _settings.threads
loglevel = _settings.log_level
logconfig_dict = logs.configuration(_settings.log_level)
worker_tmp_dir = next((folder for folder in ("/dev/shm",) if Path(folder).is_dir()), None)  # noqa: S108  # in memory: a slow disk would delay heartbeats
control_socket_disable = True  # gunicorn would create it in $HOME, which is read-only
graceful_timeout = 20  # seconds; less than the pod's grace period
keepalive = 75  # seconds; longer than a proxy keeps an idle connection
timeout = 30  # seconds without a heartbeat, after which the master kills a worker


class _Worker(Protocol):
    slot: int


class _Master(Protocol):
    WORKERS: Mapping[int, _Worker]  # the living workers by process id


def on_starting(_master: _Master) -> None:
    """Prepare the memory that the workers inherit, and delete the metrics of an earlier master."""
    return_freed_memory()
    if _metrics_folder:
        try:
            shared.empty(_metrics_folder)
        except OSError as error:
            given = f"{NAMES.metrics_folder} is {str(_metrics_folder)!r}"
            sys.exit(f"neobank: {given}, which is not a usable folder: {error.strerror}.")


def pre_fork(master: _Master, worker: _Worker) -> None:
    """Assign a free slot to a new worker, such as that of a dead one."""
    worker.slot = shared.free_slot(other.slot for other in master.WORKERS.values())


def post_fork(_master: _Master, worker: _Worker) -> None:
    """Make a worker keep its metrics in the shared folder, before it loads the application."""
    if _metrics_folder:
        shared.keep_in(_metrics_folder, worker.slot)


def child_exit(_master: _Master, worker: _Worker) -> None:
    """Delete the gauges and the connection count of a worker that ended, for whatever reason."""
    COUNTS.forget(worker.slot)
    if _metrics_folder:
        shared.delete_gauges(_metrics_folder, worker.slot)
