"""`make run`: the bank on this machine, with an embedded PostgreSQL. Its data stay in .local/run between runs.

python -m tools.run --port 5055 [--home FOLDER]
"""

import argparse
import fcntl
import os
import secrets
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path
from types import FrameType
from typing import Final, NoReturn

from tools.postgres import REPOSITORY, Postgres, PostgresError

ADMIN: Final = "Admin"
PASSWORD_FILE: Final = "admin-password"  # noqa: S105  # the name of a file


def main() -> None:
    """Serve until SIGINT (Ctrl-C) or SIGTERM, then shut everything down cleanly."""
    parser = argparse.ArgumentParser(prog="python -m tools.run")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--home", type=Path, default=REPOSITORY / ".local" / "run", help="folder of the data")
    arguments = parser.parse_args()
    port: int = arguments.port
    home: Path = arguments.home.resolve()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _interrupt)
    require_available_port(port)
    home.mkdir(mode=0o700, parents=True, exist_ok=True)
    with (home / ".lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            sys.exit(f"make run: another `make run` already uses the data in {home}: stop it first.")
        sys.exit(run(home, port))


def run(home: Path, port: int) -> int:
    """Run the database and the service until they are stopped; return the service's exit code, or 0 after a signal."""
    try:
        database = Postgres.embedded(home)
        database.start()
        try:
            return serve(database, home, port)
        finally:
            database.stop()
    except PostgresError as error:
        sys.exit(f"make run: {error}")
    except KeyboardInterrupt:
        return 0


def require_available_port(port: int) -> None:
    """Exit with one sentence if the port is not available."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except (OSError, OverflowError) as error:
            sys.exit(f"make run: port {port} is not available ({error}): choose another with PORT=.")


def serve(database: Postgres, home: Path, port: int) -> int:
    """Run the service as a child process, print its address once it is ready, and return its exit code."""
    password_is_new = not (home / PASSWORD_FILE).exists()
    environment = service_environment(database, home, port)
    # The service ends when this process dies, even by SIGKILL, so that the next run finds the port free.
    command = ["setpriv", "--pdeathsig=TERM", str(Path(sys.executable).with_name("neobank")), "start"]
    service = subprocess.Popen(command, env=environment, start_new_session=True)
    try:
        if await_service(service, port):
            write_secret(home / "database-url", environment["DATABASE_URL"])
            print(f"NeoBank runs at http://127.0.0.1:{port}. Press Ctrl-C to stop it.", flush=True)
            password = environment["ADMIN_PASSWORD"] if password_is_new else f"in {home / PASSWORD_FILE}"
            print(f"The administrator is {ADMIN}, with the password {password}", flush=True)
        return service.wait()
    finally:
        service.terminate()
        service.wait(timeout=60)


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


def write_secret(file: Path, secret: str) -> None:
    """Write a secret to a file, which is created with mode 0600."""
    file.touch(mode=0o600)
    file.write_text(secret, encoding="utf-8")


def await_service(service: subprocess.Popen[bytes], port: int, timeout: float = 60) -> bool:
    """Wait until the service is ready, at most `timeout` seconds; return whether it is."""
    deadline = time.monotonic() + timeout
    while service.poll() is None and time.monotonic() < deadline:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/health/ready", timeout=2):
                return True
        except (urllib.error.URLError, OSError):
            time.sleep(0.1)
    return False


def _interrupt(_signal: int, _frame: FrameType | None) -> NoReturn:
    raise KeyboardInterrupt


if __name__ == "__main__":
    main()
