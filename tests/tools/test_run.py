"""`make run`: one command starts the bank; the data survives it, and no process does."""

import fcntl
import json
import os
import re
import shutil
import signal
import socket
import stat
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from pathlib import Path
from typing import IO

import pytest
from sqlalchemy import URL, text

from neobank.database import connect
from tests.bank import Bank
from tests.disks import small_disk
from tests.infra.documents import code_blocks
from tests.service.serving import children, exporter
from tools.postgres import REPOSITORY, free_port

Start = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Return a function that starts the bank on this test's own data; its processes end with the test."""
    started: list[subprocess.Popen[str]] = []

    def run(port: int, home: Path = tmp_path / "home", **environment: str) -> subprocess.Popen[str]:
        command = [sys.executable, "-m", "tools.run", "--port", str(port), "--home", str(home)]
        process = subprocess.Popen(
            command,
            cwd=REPOSITORY,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env=os.environ | environment,
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
    return [line for line in command_lines().values() if text in line]


def command_lines() -> dict[int, str]:
    """Return the command lines of all processes by process id."""
    found = {}
    for file in Path("/proc").glob("[0-9]*/cmdline"):
        with suppress(OSError):
            found[int(file.parent.name)] = file.read_bytes().replace(b"\0", b" ").decode(errors="replace")
    return found


def below(pid: int, *words: str) -> int:
    """Wait for a process below another one: its child whose command line has the first word, and so on."""
    deadline = time.monotonic() + 60
    while True:
        lines, found = command_lines(), [pid]
        for word in words:
            with suppress(OSError):
                found = [child for parent in found for child in children(parent) if word in lines.get(child, "")]
        if found:
            return found[0]
        assert time.monotonic() < deadline, (words, lines)
        time.sleep(0.002)


@pytest.fixture(scope="module")
def stopped(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The data of a bank that was started once."""
    home = tmp_path_factory.mktemp("stopped") / "home"
    command = [sys.executable, "-m", "tools.run", "--port", str(free_port()), "--home", str(home)]
    with subprocess.Popen(command, cwd=REPOSITORY, stdout=subprocess.PIPE, text=True) as bank:
        read_until(bank.stdout, "The administrator is")
        bank.send_signal(signal.SIGINT)
    return home


@pytest.fixture
def home(stopped: Path, tmp_path: Path) -> Path:
    """A copy of these data."""
    return Path(shutil.copytree(stopped, tmp_path / "home"))


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


def test_a_second_run_on_the_same_data_is_rejected_with_the_process_of_the_first(start: Start, tmp_path: Path) -> None:
    first = start(free_port())
    read_until(first.stdout, "The administrator is")
    output, _ = start(free_port()).communicate(timeout=60)
    assert output.count("\n") == 1
    assert f"already uses the data in {tmp_path / 'home'}: stop it first (it is process {first.pid})" in output


@pytest.mark.parametrize("part", ["shell", "server"])
def test_a_killed_part_of_the_preparation_ends_the_start_and_the_next_one_works(
    start: Start, home: Path, part: str
) -> None:
    bank = start(free_port())
    server = below(bank.pid, "start.sh", "start.sh", "config_file=")
    os.kill({"shell": below(bank.pid, "start.sh"), "server": server}[part], signal.SIGKILL)
    printed, _ = bank.communicate(timeout=60)
    assert (bank.returncode, printed.count("\n")) == (1, 1)
    assert printed.startswith("make run: PostgreSQL did not start")
    read_until(start(free_port()).stdout, "The administrator is")
    assert (home / "database-url").exists()


@pytest.mark.parametrize(
    ("part", "named"),
    [(["postgres"], "PostgreSQL was killed by SIGKILL"), (["gunicorn"], "the service was killed by SIGKILL")],
    ids=["PostgreSQL", "service"],
)
def test_a_killed_server_ends_everything_and_the_next_start_works(
    start: Start, home: Path, part: list[str], named: str
) -> None:
    port = free_port()
    bank = start(port)
    read_until(bank.stdout, "The administrator is")
    os.kill(below(bank.pid, *part), signal.SIGKILL)
    printed, _ = bank.communicate(timeout=60)
    [sentence] = [line for line in printed.splitlines() if not line.startswith("{")]  # the rest are log lines
    assert bank.returncode == 1
    assert sentence.startswith(f"make run: {named}")
    read_until(start(port).stdout, "The administrator is")
    assert (home / "database-url").exists()


@pytest.mark.parametrize("part", [["postgres", "checkpointer"], ["gunicorn", "gunicorn"]], ids=["backend", "worker"])
def test_a_killed_worker_is_started_again(start: Start, home: Path, part: list[str]) -> None:
    port = free_port()
    bank = start(port)
    read_until(bank.stdout, "The administrator is")
    killed = below(bank.pid, *part)
    os.kill(killed, signal.SIGKILL)
    while below(bank.pid, *part) == killed:
        time.sleep(0.01)
    Bank(f"http://127.0.0.1:{port}").await_ready()
    assert log_in(port, "Admin", (home / "admin-password").read_text())["is_admin"] is True
    assert bank.poll() is None


def test_deleted_data_end_everything(start: Start, home: Path) -> None:
    bank = start(free_port())
    read_until(bank.stdout, "The administrator is")
    shutil.rmtree(home / "volume")
    printed, _ = bank.communicate(timeout=60)
    assert bank.returncode == 1
    assert f"were deleted from {home / 'volume'}" in printed
    assert processes_naming(str(home)) == []


def test_an_error_quotes_this_start_and_no_earlier_one(start: Start, home: Path) -> None:
    with (home / "postgres.log").open("a") as log:
        log.write("start.sh: the reason of an earlier start.\n")
    [version] = home.glob("volume/*/PG_VERSION")
    version.write_text("9\n")
    printed, _ = start(free_port()).communicate(timeout=60)
    assert printed.count("\n") == 1
    assert "contains data of PostgreSQL 9" in printed
    version.unlink()
    (home / "credentials" / "owner").write_text("")
    assert "credentials/owner is missing, empty" in start(free_port()).communicate(timeout=60)[0]


@pytest.mark.usefixtures("home")
def test_a_proxy_is_not_asked_for_the_bank_itself(start: Start) -> None:
    with closing(socket.socket()) as proxy:
        proxy.bind(("127.0.0.1", 0))
        proxy.listen()
        variables = dict.fromkeys(("http_proxy", "HTTP_PROXY"), f"http://127.0.0.1:{proxy.getsockname()[1]}")
        read_until(start(free_port(), **variables, no_proxy="").stdout, "The administrator is")
        proxy.settimeout(0)
        with pytest.raises(BlockingIOError):
            proxy.accept()


def test_a_start_that_waits_says_for_what(start: Start, home: Path) -> None:
    with (home / "volume" / ".lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        bank = start(free_port())
        assert "another server still uses" in read_until(bank.stdout, "starting for")
    read_until(bank.stdout, "The administrator is")


def test_a_disk_that_is_too_small_is_named(start: Start, stopped: Path, tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", 128) as disk:
        printed, _ = start(free_port(), disk.folder / "home").communicate(timeout=60)
        assert printed.count("\n") == 1
        assert f"{disk.folder / 'home'} has " in printed
        assert "needs 300 MB" in printed
        assert not (disk.folder / "home").exists()
        (disk.folder / "home" / "volume").mkdir(parents=True)
        shutil.copytree(stopped / "volume" / "18", disk.folder / "home" / "volume" / "18", ignore=lambda *_: ["pg_wal"])
        disk.fill()
        printed, _ = start(free_port(), disk.folder / "home").communicate(timeout=60)
        assert (printed.count("\n"), "needs 20 MB" in printed) == (1, True)


def test_on_a_full_disk_reads_go_on_and_payments_follow_when_there_is_space(
    start: Start, stopped: Path, tmp_path: Path
) -> None:
    with small_disk(tmp_path / "disk", 300) as disk:
        port, home = free_port(), Path(shutil.copytree(stopped, disk.folder / "home"))
        run = start(port, home, NEOBANK_RATE_LIMITS="off")
        read_until(run.stdout, "The administrator is")
        bank = Bank(f"http://127.0.0.1:{port}")
        neo, trinity = bank.join("Neo"), bank.join("Trinity")
        workers = children(below(run.pid, "gunicorn"))
        disk.fill()
        fill_wal(home)
        confirmed = 0
        while (answer := bank.pay(neo, trinity, 0.01))[0] == 201:
            confirmed += 1
        assert answer[0] == 503
        assert "disk" in answer[1]["error"]
        assert bank.balance(trinity) == pytest.approx(1000 + confirmed / 100)
        assert bank.is_ready()
        disk.clear()
        assert bank.pay(neo, trinity, 0.01)[0] == 201
        assert children(below(run.pid, "gunicorn")) == workers
        assert "All balances agree" in verify((home / "database-url").read_text())
        run.send_signal(signal.SIGINT)
        run.communicate(timeout=60)


def fill_wal(home: Path) -> None:
    """Make PostgreSQL use more WAL files than it has at first."""
    [file] = home.glob("volume/*/postmaster.pid")
    _, _, _, port, sockets, *_ = file.read_text().splitlines()
    server = connect(URL.create("postgresql", "postgres", host=sockets, port=int(port), database="neobank"))
    with server.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        for _ in range(20):
            connection.execute(text("SELECT pg_logical_emit_message(false, '', 'x')"))
            connection.execute(text("SELECT pg_switch_wal()"))
            connection.execute(text("CHECKPOINT"))
    server.dispose()


def test_the_commands_of_the_readme_work_in_one_shell(start: Start, home: Path) -> None:
    port = free_port()
    read_until(start(port).stdout, "The administrator is")
    pay, log_in_as_admin, verify_here, *_ = [
        block for block in code_blocks(REPOSITORY / "README.md") if "5055" in block or ".local/run/" in block
    ]
    script = "\n".join([pay, log_in_as_admin, verify_here.splitlines()[0]])
    script = script.replace("5055", str(port)).replace(".local/run", str(home))
    script = script.replace(".local/venv/bin", str(Path(sys.executable).parent))
    done = subprocess.run(["sh", "-eux"], input=script, capture_output=True, text=True, check=True)
    assert '"amount":12.5' in done.stdout.replace(" ", "")
    assert '"is_admin":true' in done.stdout.replace(" ", "")
    assert "All balances agree with their transfers: 5 accounts" in done.stdout
