"""The service as a pod runs it: gunicorn with its own configuration, on a port of its own."""

import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Self

from neobank.contract import CONTRACT
from tools.errors import UserError
from tools.postgres import free_port
from tools.run import await_service


class Server:
    """A running service; `startup` is the seconds from its start until it was ready."""

    def __init__(self, environment: Mapping[str, str], *, workers: int) -> None:
        self.port = free_port()
        names = CONTRACT.environment
        unlimited = {**environment, names.rate_limits: "off"}  # a few clients stand for a crowd here
        self._environment = {**unlimited, names.port: str(self.port), names.workers: str(workers)}
        self.startup = 0.0

    def __enter__(self) -> Self:
        command = [str(Path(sys.executable).with_name(CONTRACT.serve[0])), *CONTRACT.serve[1:]]
        started = time.monotonic()
        self._process = subprocess.Popen(command, env=self._environment, start_new_session=True)
        if not await_service(self._process, self.port):
            self.__exit__()
            raise UserError("the service did not become ready; its own words are above.")
        self.startup = time.monotonic() - started
        return self

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        self._process.wait(timeout=60)

    def worker_memory(self) -> int:
        """Give the resident memory of the first worker, in bytes."""
        worker = Path(f"/proc/{self._process.pid}/task/{self._process.pid}/children").read_text().split()[0]
        status = Path(f"/proc/{worker}/status").read_text()
        return int(status.partition("VmRSS:")[2].split()[0]) * 1024
