"""`make run`: the bank on this machine alone, on an embedded PostgreSQL, with its data in .local/run between runs."""

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
from typing import NoReturn

from tools.postgres import REPOSITORY, Postgres, PostgresError

HOME = REPOSITORY / ".local" / "run"
ADMIN = "Admin"


def main() -> None:
    """Serve until Ctrl-C (or until somebody ends the process), then stop everything in order."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--port", type=int, default=5055)
    port: int = arguments.parse_args().port
    signal.signal(signal.SIGTERM, _interrupt)
    HOME.mkdir(mode=0o700, parents=True, exist_ok=True)
    refuse_a_taken_port(port)
    with (HOME / ".lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            sys.exit("make run: the bank already runs from this folder; stop that one first.")
        sys.exit(run(port))


def run(port: int) -> int:
    """Run database and service until they are stopped; gives the service's exit code."""
    try:
        database = Postgres.embedded(HOME)
        database.start()
    except PostgresError as error:
        sys.exit(f"make run: {error}")
    try:
        return serve(database, port)
    except KeyboardInterrupt:
        return 0
    finally:
        database.stop()


def refuse_a_taken_port(port: int) -> None:
    """End with a sentence where somebody else listens on the port."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except (OSError, OverflowError) as error:
            sys.exit(f"make run: port {port} can't be had ({error}): choose another with PORT=.")


def serve(database: Postgres, port: int) -> int:
    """Run the service in the foreground and say where it is; gives its exit code."""
    first_time = not (HOME / "admin-password").exists()
    environment = service_environment(database, port)
    # It ends with this process, however that dies, so that the port is free for the next one.
    neobank = str(Path(sys.executable).with_name("neobank"))
    service = subprocess.Popen(
        ["setpriv", "--pdeathsig=TERM", neobank, "start"], env=environment, start_new_session=True
    )
    try:
        if await_service(service, port):
            print(f"NeoBank is at http://127.0.0.1:{port} (Ctrl-C stops it).", flush=True)
            if first_time:
                print(f"Log in as {ADMIN} with the password {environment['ADMIN_PASSWORD']}", flush=True)
                print(f"(it is kept in {HOME.relative_to(REPOSITORY) / 'admin-password'}).", flush=True)
        return service.wait()
    finally:
        service.terminate()
        service.wait(timeout=60)


def service_environment(database: Postgres, port: int) -> dict[str, str]:
    """Give the service's whole configuration; its secrets are made once and kept beside the data."""
    return {
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "DATABASE_URL": database.url("application"),
        "DATABASE_OWNER_URL": database.url("owner"),
        "SECRET_KEY": kept_secret("secret-key"),
        "ADMIN_NAME": ADMIN,
        "ADMIN_PASSWORD": kept_secret("admin-password"),
        "HOST": "127.0.0.1",
        "PORT": str(port),
        "LOG_LEVEL": "warning",
    }


def kept_secret(name: str) -> str:
    """Give the secret that is kept under this name, made now if there is none."""
    file = HOME / name
    if not file.exists():
        file.touch(mode=0o600)
        file.write_text(secrets.token_urlsafe(24), encoding="utf-8")
    return file.read_text(encoding="utf-8")


def await_service(service: subprocess.Popen[bytes], port: int, patience: float = 60) -> bool:
    """Wait until the service is ready; tells whether it came that far."""
    deadline = time.monotonic() + patience
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
