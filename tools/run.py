"""`make run`: the bank on this machine, with an embedded PostgreSQL. Its data stay in .local/run between runs.

python -m tools.run --port 5055 [--home FOLDER] [--check]

If a part ends that should run, everything ends with one sentence, and the next run starts normally.
"""

import argparse
import fcntl
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import time
from contextlib import closing, suppress
from http import HTTPStatus
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from types import FrameType
from typing import IO, Final, NoReturn

from tools.errors import UserError
from tools.postgres import REPOSITORY, Postgres, PostgresError, ending, write_secret

ADMIN: Final = "Admin"
PASSWORD_FILE: Final = "admin-password"  # noqa: S105  # the name of a file
MAX_PORT: Final = 65535

SPACE_FOR_NEW: Final = 300 << 20
"""Free disk space that a new bank needs, in bytes: PostgreSQL's files take half of it."""

SPACE_FOR_START: Final = 20 << 20
"""Free disk space that the start of an existing bank needs, in bytes."""

INTERVAL: Final = 10  # seconds between two reports of a start that takes long
GRACE: Final = 25  # seconds in which the service may end its requests; gunicorn itself takes at most 20
GRACE_WITHOUT_DATABASE: Final = 5


def main() -> None:
    """Serve until SIGINT (Ctrl-C) or SIGTERM, then shut everything down cleanly."""
    parser = argparse.ArgumentParser(prog="python -m tools.run")
    parser.add_argument("--port", required=True)
    parser.add_argument("--home", type=Path, default=REPOSITORY / ".local" / "run", help="folder of the data")
    parser.add_argument("--check", action="store_true", help="only check whether the bank could start")
    arguments = parser.parse_args()
    home: Path = arguments.home.resolve()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _interrupt)
    try:
        port = port_number(arguments.port)
        require_space(home)
        home.mkdir(mode=0o700, parents=True, exist_ok=True)
        with (home / ".lock").open("a+", encoding="utf-8") as lock:
            require_lock(lock, home)
            require_available_port(port)
            if not arguments.check:
                run(home, port)
    except (UserError, PostgresError) as error:
        sys.exit(f"make run: {error}")
    except OSError as error:
        sys.exit(f"make run: {error.filename or home}: {error.strerror}.")
    except KeyboardInterrupt:
        sys.exit(0)


def run(home: Path, port: int) -> NoReturn:
    """Run the database and the service until a signal. Raise UserError or PostgresError if one of them ends."""
    progress = Progress()
    database = Postgres.embedded(home)
    database.start(progress.report)
    try:
        serve(database, home, port, progress)
    finally:
        database.stop()


class Progress:
    """Prints what the start waits for, every ten seconds."""

    def __init__(self) -> None:
        self._started = self._printed = time.monotonic()

    def report(self, waits_for: str) -> None:
        """Print a line if ten seconds have passed since the last one."""
        now = time.monotonic()
        if now - self._printed >= INTERVAL:
            self._printed = now
            print(f"make run: starting for {now - self._started:.0f} seconds: {waits_for}", flush=True)


def port_number(text: str) -> int:
    """Return the port that a text names. Raise UserError if it names none."""
    if not (text.isascii() and text.isdigit() and 1 <= int(text) <= MAX_PORT):
        raise UserError(f"PORT is {text!r}: set it to a whole number from 1 to {MAX_PORT}.")
    return int(text)


def require_available_port(port: int) -> None:
    """Raise UserError if another process uses the port, or this user may not."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError as error:
            raise UserError(f"port {port} is not available ({error.strerror}): choose another with PORT=.") from None


def require_space(home: Path) -> None:
    """Raise UserError if the disk has too little space for the start."""
    needed = SPACE_FOR_START if any(home.glob("volume/*/PG_VERSION")) else SPACE_FOR_NEW
    existing = next(folder for folder in (home, *home.parents) if folder.exists())
    free = shutil.disk_usage(existing).free
    if free < needed:
        raise UserError(f"the disk of {home} has {free >> 20} MB free and needs {needed >> 20} MB: free some space.")


def require_lock(lock: IO[str], home: Path) -> None:
    """Lock the data for this process, and write its id to the file. Raise UserError if another process has the lock."""
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        lock.seek(0)
        other = lock.read()
        raise UserError(
            f"another `make run` already uses the data in {home}: stop it first (it is process {other})."
        ) from None
    lock.truncate(0)
    lock.write(str(os.getpid()))
    lock.flush()


def serve(database: Postgres, home: Path, port: int, progress: Progress) -> NoReturn:
    """Run the service as a child process, and print its address once it is ready.

    Raise UserError or PostgresError if the service or the database ends.
    """
    password_is_new = not (home / PASSWORD_FILE).exists()
    environment = service_environment(database, home, port)
    # The service ends when this process dies, even by SIGKILL, so that the next run finds the port free.
    command = ["setpriv", "--pdeathsig=TERM", str(Path(sys.executable).with_name("neobank")), "start"]
    service = subprocess.Popen(command, env=environment, start_new_session=True)
    try:
        while not is_ready(port):
            require_running(service, database)
            progress.report("the service is not ready")
            time.sleep(0.1)
        write_secret(home / "database-url", environment["DATABASE_URL"])
        print(f"NeoBank runs at http://127.0.0.1:{port}. Press Ctrl-C to stop it.", flush=True)
        password = environment["ADMIN_PASSWORD"] if password_is_new else f"in {home / PASSWORD_FILE}"
        print(f"The administrator is {ADMIN}, with the password {password}", flush=True)
        while True:
            require_running(service, database)
            time.sleep(0.2)
    except PostgresError:
        end(service, GRACE_WITHOUT_DATABASE)
        raise
    finally:
        end(service, GRACE)


def require_running(service: subprocess.Popen[bytes], database: Postgres) -> None:
    """Raise UserError or PostgresError if one of them has ended; SystemExit if the service has printed the reason."""
    if service.poll() == 1:
        sys.exit(1)
    if service.returncode is not None:
        raise UserError(
            f"the service {ending(service.returncode)}; the bank has stopped, and `make run` starts it again."
        )
    database.require_running()


def end(service: subprocess.Popen[bytes], grace: int) -> None:
    """End the service and its workers: let them finish requests for `grace` seconds, then kill those that are left."""
    service.terminate()
    with suppress(subprocess.TimeoutExpired):
        service.wait(timeout=grace)
    with suppress(ProcessLookupError):
        os.killpg(service.pid, signal.SIGKILL)
    service.wait()


def service_environment(database: Postgres, home: Path, port: int) -> dict[str, str]:
    """Return the service's complete environment. Its secrets are created once and stored beside the data."""
    return {
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "DATABASE_URL": database.url("application"),
        "DATABASE_OWNER_URL": database.url("owner"),
        "SECRET_KEY": load_or_create_secret(home / "secret-key"),
        "ADMIN_NAME": ADMIN,
        "ADMIN_PASSWORD": load_or_create_secret(home / PASSWORD_FILE),
        "HOST": "127.0.0.1",
        "PORT": str(port),
        "LOG_LEVEL": "warning",
        "NEOBANK_RATE_LIMITS": os.environ.get("NEOBANK_RATE_LIMITS", "on"),
        "METRICS_FOLDER": str(home / "metrics"),
    }


def load_or_create_secret(file: Path) -> str:
    """Return the secret in a file; create the file with a random secret if it does not exist."""
    if not file.exists():
        write_secret(file, secrets.token_urlsafe(24))
    return file.read_text(encoding="utf-8")


def is_ready(port: int) -> bool:
    """Return whether the service on this machine is ready. The proxies in the environment are not used."""
    with closing(HTTPConnection("127.0.0.1", port, timeout=2)) as connection:
        try:
            connection.request("GET", "/health/ready")
            return connection.getresponse().status == HTTPStatus.OK
        except (OSError, HTTPException):
            return False


def _interrupt(_signal: int, _frame: FrameType | None) -> NoReturn:
    raise KeyboardInterrupt


if __name__ == "__main__":
    main()
