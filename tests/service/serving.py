"""The service behind gunicorn, and the commands that serve metrics."""

import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from prometheus_client.parser import text_string_to_metric_families
from sqlalchemy import URL

from neobank.contract import CONTRACT
from tests.bank import Bank
from tests.service.support import SECRET_KEY
from tools.postgres import REPOSITORY, free_port

_ESTABLISHED = "01"  # in /proc/net/tcp

Samples = dict[str, float]
"""Values by name and labels, such as `neobank_transfers_total kind=transfer`."""

PATIENCE = 60  # seconds
WORKERS = 2
CONNECTIONS = 8


@dataclass(frozen=True)
class Served:
    """The service behind gunicorn, and its log file."""

    bank: Bank
    port: int
    process: subprocess.Popen[bytes]
    log: Path

    def workers(self) -> set[int]:
        """Return the process ids of the running workers."""
        return set(children(self.process.pid))

    def connections(self, worker: int) -> int:
        """Return the number of clients connected to a worker."""
        mine = {str(file.readlink()) for file in Path(f"/proc/{worker}/fd").iterdir() if file.exists()}
        rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
        return sum(
            f"socket:[{row[9]}]" in mine and row[1].endswith(f":{self.port:04X}") and row[3] == _ESTABLISHED
            for row in rows
        )

    def kill_worker(self) -> None:
        """Kill the oldest worker with SIGKILL and wait for its replacement."""
        victim = min(self.workers())
        os.kill(victim, signal.SIGKILL)
        self.await_workers_without(victim)

    @contextmanager
    def only(self, *workers: int) -> Iterator[None]:
        """Let some workers handle all requests: the others are stopped with SIGSTOP until the end of the block."""
        others = self.workers() - set(workers)
        for other in others:
            os.kill(other, signal.SIGSTOP)
        try:
            while any(Path(f"/proc/{other}/stat").read_text().rsplit(")", 1)[1].split()[0] != "T" for other in others):
                time.sleep(0.001)
            yield
        finally:
            for other in others:
                os.kill(other, signal.SIGCONT)

    def processor_seconds(self) -> float:
        """Return the processor time that the running workers have used."""
        stats = [Path(f"/proc/{worker}/stat").read_text().rsplit(")", 1)[1].split() for worker in self.workers()]
        return sum(int(stat[11]) + int(stat[12]) for stat in stats) / os.sysconf("SC_CLK_TCK")

    def await_workers_without(self, dead: int) -> None:
        """Wait until a worker has been replaced and the service is ready."""
        deadline = time.monotonic() + PATIENCE
        while dead in self.workers() or len(self.workers()) < WORKERS:
            assert time.monotonic() < deadline, self.log.read_text()
            time.sleep(0.05)
        self.bank.await_ready()


def children(pid: int) -> list[int]:
    """Return the process ids of a process's children."""
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


@contextmanager
def gunicorn(
    database_url: URL, log: Path, *, application: str = CONTRACT.serve[-1], **environment: str
) -> Iterator[Served]:
    """Serve with two workers until the end of the block."""
    port = free_port()
    settings = {
        "PATH": os.environ["PATH"],
        "PYTHONPATH": str(REPOSITORY),
        "DATABASE_URL": database_url.render_as_string(hide_password=False),
        "SECRET_KEY": SECRET_KEY.decode(),
        "HOST": "127.0.0.1",
        "PORT": str(port),
        "WEB_WORKERS": str(WORKERS),
        "DATABASE_CONNECTIONS": str(CONNECTIONS),
        "NEOBANK_RATE_LIMITS": "off",
    }
    command = [str(Path(sys.executable).with_name(CONTRACT.serve[0])), *CONTRACT.serve[1:-1], application]
    with running(command, settings | environment, log) as process:
        bank = Bank(f"http://127.0.0.1:{port}")
        bank.await_ready()
        yield Served(bank, port, process, log)


@dataclass(frozen=True)
class Exporter:
    """A command that serves metrics."""

    address: str
    process: subprocess.Popen[bytes]

    def scrape(self) -> Samples:
        """Request the metrics. Raise OSError if there is no response."""
        with urllib.request.urlopen(self.address, timeout=PATIENCE) as answer:  # noqa: S310  # loopback
            return scraped(answer.read().decode())

    def await_(self, condition: Callable[[Samples], bool]) -> Samples:
        """Request the metrics until they meet a condition."""
        deadline = time.monotonic() + PATIENCE
        while not condition(found := self.scrape()):
            assert time.monotonic() < deadline, found
            time.sleep(0.05)
        return found


def scraped(text: str) -> Samples:
    """Parse metrics as Prometheus does."""
    return {
        " ".join([sample.name, *(f"{name}={value}" for name, value in sorted(sample.labels.items()))]): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


@contextmanager
def exporter(log: Path, *words: str, within: Sequence[str] = (), **environment: str) -> Iterator[Exporter]:
    """Run `neobank metrics` or `neobank figures` until the end of the block."""
    port = free_port()
    command = [*within, sys.executable, "-m", "neobank.cli", *words]
    settings = {"PATH": os.environ["PATH"], "HOST": "127.0.0.1", "METRICS_PORT": str(port)}
    with running(command, settings | environment, log) as process:
        found = Exporter(f"http://127.0.0.1:{port}/metrics", process)
        deadline = time.monotonic() + PATIENCE
        while True:
            try:
                found.scrape()
                break
            except (urllib.error.URLError, OSError):
                assert process.poll() is None, log.read_text()
                assert time.monotonic() < deadline, log.read_text()
                time.sleep(0.05)
        yield found


@contextmanager
def running(command: list[str], environment: Mapping[str, str], log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Run a command until the end of the block; print its output, which pytest shows if the test fails."""
    with log.open("ab") as output:
        process = subprocess.Popen(command, env=dict(environment), stdout=output, stderr=output)
    try:
        yield process
    finally:
        process.terminate()
        process.wait(timeout=PATIENCE)
        sys.stdout.write(log.read_text())
