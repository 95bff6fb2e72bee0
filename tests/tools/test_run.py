"""`make run`: one command starts the bank; the data survives it, and no process does."""

import json
import os
import re
import signal
import socket
import stat
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO

import pytest

from tests.service.serving import exporter
from tools.postgres import REPOSITORY, free_port

Start = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Return a function that starts the bank on this test's own data; its processes end with the test."""
    started: list[subprocess.Popen[str]] = []

    def run(port: int) -> subprocess.Popen[str]:
        command = [sys.executable, "-m", "tools.run", "--port", str(port), "--home", str(tmp_path / "home")]
        process = subprocess.Popen(
            command, cwd=REPOSITORY, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=os.environ
        )
        started.append(process)
        return process

    yield run
    for process in started:
        process.terminate()
        process.communicate(timeout=60)


def read_until(output: IO[str] | None, words: str) -> str:
    """Read lines until one contains the words, and return all lines; pytest's timeout is the deadline."""
    assert output is not None
    read = ""
    for line in output:
        read += line
        if words in line:
            return read
    pytest.fail(f"it ended without printing {words!r}: {read}")


def log_in(port: int, name: str, password: str) -> dict[str, object]:
    body = json.dumps({"character_name": name, "password": password}).encode()
    request = urllib.request.Request(  # our own loopback
        f"http://127.0.0.1:{port}/api/v1/auth/login", body, {"Content-Type": "application/json"}
    )
    with urllib.request.urlopen(request, timeout=30) as answer:  # noqa: S310
        user: dict[str, object] = json.load(answer)["user"]
    return user


def is_free(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) != 0


def verify(url: str) -> str:
    """Run `neobank verify` as the README describes, and return its output."""
    command = [str(Path(sys.executable).with_name("neobank")), "verify"]
    return subprocess.run(command, env={"DATABASE_URL": url}, capture_output=True, text=True, check=True).stdout


def processes_naming(text: str) -> list[str]:
    """Return the command lines of running processes that contain a text."""
    found = []
    for file in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            line = file.read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue
        if text in line:
            found.append(line)
    return found


def test_a_first_run_prints_the_login_and_ctrl_c_stops_everything(start: Start, tmp_path: Path) -> None:
    port = free_port()
    bank = start(port)
    printed = read_until(bank.stdout, "The administrator is")
    assert f"http://127.0.0.1:{port}" in printed
    password = re.search(r"the password (\S+)", printed)
    assert password is not None
    assert log_in(port, "Admin", password[1])["is_admin"] is True
    bank.send_signal(signal.SIGINT)
    assert bank.wait(timeout=60) == 0
    assert is_free(port)
    assert processes_naming(str(tmp_path)) == []


@pytest.mark.parametrize("begun", ["postgres.log", "volume/*/postmaster.pid"])
def test_ctrl_c_while_postgresql_starts_stops_everything(start: Start, tmp_path: Path, begun: str) -> None:
    bank = start(free_port())
    deadline = time.monotonic() + 60
    while not list((tmp_path / "home").glob(begun)):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    bank.send_signal(signal.SIGINT)
    printed, _ = bank.communicate(timeout=60)
    assert (bank.returncode, printed) == (0, "")
    assert processes_naming(str(tmp_path)) == []


def test_a_second_run_keeps_the_data_after_a_kill(start: Start, tmp_path: Path) -> None:
    port = free_port()
    first = start(port)
    read_until(first.stdout, "The administrator is")
    first.kill()
    deadline = time.monotonic() + 60
    while not is_free(port):  # the first server then shuts down by itself
        assert time.monotonic() < deadline
        time.sleep(0.05)
    printed = read_until(start(port).stdout, "The administrator is")
    kept = (tmp_path / "home" / "admin-password").read_text()
    assert "All balances agree" in verify((tmp_path / "home" / "database-url").read_text())
    assert kept not in printed
    assert log_in(port, "Admin", kept)["is_admin"] is True


def test_only_the_owner_can_read_the_data(start: Start, tmp_path: Path) -> None:
    before = stat.S_IMODE(tmp_path.stat().st_mode)
    bank = start(free_port())
    read_until(bank.stdout, "The administrator is")
    home = tmp_path / "home"
    assert stat.S_IMODE(tmp_path.stat().st_mode) == before
    assert stat.S_IMODE(home.stat().st_mode) == 0o700
    assert {stat.S_IMODE(folder.stat().st_mode) for folder in (home / "volume").iterdir() if folder.is_dir()} == {0o700}
    for secret in ("admin-password", "secret-key", "database-url"):
        assert stat.S_IMODE((home / secret).stat().st_mode) == 0o600


def test_the_metrics_can_be_read_while_it_runs(start: Start, tmp_path: Path) -> None:
    port = free_port()
    read_until(start(port).stdout, "The administrator is")
    log_in(port, "Admin", (tmp_path / "home" / "admin-password").read_text())
    with exporter(tmp_path / "log", "metrics", METRICS_FOLDER=str(tmp_path / "home" / "metrics")) as metrics:
        logged_in = "neobank_http_request_duration_seconds_count method=POST route=/api/v1/auth/login status=200"
        assert metrics.scrape()[logged_in] == 1


def test_a_used_port_is_reported_in_one_line(start: Start) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        output, _ = start(port).communicate(timeout=60)
    assert output.count("\n") == 1
    assert f"port {port} is not available" in output


def test_a_second_run_on_the_same_data_is_rejected_in_one_line(start: Start) -> None:
    read_until(start(free_port()).stdout, "The administrator is")
    output, _ = start(free_port()).communicate(timeout=60)
    assert output.count("\n") == 1
    assert "already uses the data" in output
