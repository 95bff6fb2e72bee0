"""The service as a pod runs it: gunicorn with the service's configuration, on a free port."""

import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Final, Self

from neobank.contract import CONTRACT
from neobank.settings import Limit
from tools.errors import UserError
from tools.postgres import free_port
from tools.run import is_ready

UNLIMITED: Final = "off"
HARDLY_LIMITED: Final = (
    f"{Limit.PAYMENTS}=999999/minute"  # a few clients represent a crowd: counted, but never rejected
)

START_SECONDS: Final = 60
"""The time in which the service has to become ready."""


class Server:
    """A running service. `startup` is the time from its start until it was ready, in seconds."""

    def __init__(self, environment: Mapping[str, str], log: Path, *, workers: int, limits: str = UNLIMITED) -> None:
        self.port = free_port()
        names = CONTRACT.environment
        self._environment = {
            **environment,
            names.port: str(self.port),
            names.workers: str(workers),
            names.rate_limits: limits,
            names.log_level: "info",  # as in a pod: one line per request
            names.metrics_folder: f"{environment[names.metrics_folder]}-{self.port}",
        }
        self._log = log
        self.startup = 0.0

    def __enter__(self) -> Self:
        command = [str(Path(sys.executable).with_name(CONTRACT.serve[0])), *CONTRACT.serve[1:]]
        started = time.monotonic()
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(command, env=self._environment, stderr=log, start_new_session=True)
        while not is_ready(self.port):
            if self._process.poll() is not None or time.monotonic() > started + START_SECONDS:
                self.__exit__()
                raise UserError(f"the service did not become ready; its log ends with: {self._log.read_text()[-500:]}")
            time.sleep(0.01)
        self.startup = time.monotonic() - started
        return self

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        self._process.wait(timeout=60)

    def worker_memory(self) -> int:
        """Return the resident memory of the first worker, in bytes."""
        worker = Path(f"/proc/{self._process.pid}/task/{self._process.pid}/children").read_text().split()[0]
        status = Path(f"/proc/{worker}/status").read_text()
        return int(status.partition("VmRSS:")[2].split()[0]) * 1024
