"""`make run` in a fresh clone: each thing that it lacks is one sentence, before anything is installed."""

import fcntl
import os
import pty
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import closing, suppress
from pathlib import Path

import pytest

from tests.scripts import write_script
from tools.postgres import REPOSITORY, free_port

READ_ONLY = 'mount --bind -o ro "$PWD" "$PWD" && cd "$PWD" && exec make run'

# A Python whose module venv does what $ON_VENV says.
STAND_IN = """#!/bin/sh
case "$*" in
    *version_info*) echo True ;;
    *"-m venv"*) eval "$ON_VENV" ;;
    *) exec {python} "$@" ;;
esac
"""


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """What `make run` reads in a fresh clone."""
    clone = tmp_path / "clone"
    clone.mkdir()
    for name in ("Makefile", "tools", "database", "service", "requirements-run.lock"):
        if (REPOSITORY / name).is_dir() and name != "service":
            shutil.copytree(REPOSITORY / name, clone / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            (clone / name).symlink_to(REPOSITORY / name)
    write_script(tmp_path, "stand-in", STAND_IN.format(python=sys.executable))
    return clone


def make(clone: Path, *words: str, **environment: str) -> str:
    """Run `make run`, which must fail; return what it prints besides make's own last line."""
    ended = subprocess.run(
        ["make", "run", *words],
        cwd=clone,
        env=os.environ | environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    assert ended.returncode == 2, ended.stdout
    return "".join(line for line in ended.stdout.splitlines(keepends=True) if not line.startswith("make: ***"))


@pytest.mark.parametrize("python", ["", "no-such-python", "ls", "true", "sh"])
def test_a_missing_or_other_program_for_python_is_named(clone: Path, python: str) -> None:
    printed = make(clone, f"PYTHON={python}")
    assert printed.count("\n") == 1
    assert f"PYTHON is '{python}', which is not Python 3.11 or newer" in printed
    assert not (clone / ".local").exists()


@pytest.mark.parametrize("port", ["", "abc", "0", "65536", "5055 "])
def test_an_invalid_port_is_named_before_the_installation(clone: Path, port: str) -> None:
    printed = make(clone, f"PYTHON={sys.executable}", f"PORT={port}")
    assert printed == f"make run: PORT is {port!r}: set it to a whole number from 1 to 65535.\n"
    assert not (clone / ".local" / "venv").exists()


def test_a_used_port_is_named_before_the_installation(clone: Path) -> None:
    with closing(socket.socket()) as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        printed = make(clone, f"PYTHON={sys.executable}", f"PORT={port}")
    assert printed.count("\n") == 1
    assert f"port {port} is not available" in printed
    assert not (clone / ".local" / "venv").exists()


def test_a_bank_that_already_runs_is_named_with_its_process(clone: Path) -> None:
    home = clone / ".local" / "run"
    home.mkdir(parents=True)
    (home / ".lock").write_text("4711")
    with (home / ".lock").open() as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        printed = make(clone, f"PYTHON={sys.executable}")
    assert printed.count("\n") == 1
    assert f"already uses the data in {home}: stop it first (it is process 4711)" in printed


def test_a_read_only_checkout_is_named(clone: Path) -> None:
    command = ["unshare", "--user", "--map-root-user", "--mount", "--", "sh", "-c", READ_ONLY]
    ended = subprocess.run(command, cwd=clone, capture_output=True, text=True, check=False)
    if "make" not in ended.stderr:
        pytest.skip("this machine forbids the mounts of a user namespace")
    printed = [line for line in ended.stderr.splitlines() if not line.startswith("make: ***")]
    assert printed == [f"make: {clone} is not writable for root: use a checkout that is."]


def test_a_python_without_venv_is_named(clone: Path) -> None:
    failing = "echo The first line; echo No module named ensurepip; exit 1"
    *_, printed = make(clone, "PYTHON=../stand-in", f"PORT={free_port()}", ON_VENV=failing).splitlines()
    assert "cannot create a virtual environment (No module named ensurepip)" in printed
    assert "python3-venv" in printed


def test_a_package_index_that_does_not_answer_is_named(clone: Path) -> None:
    (clone / ".local" / "venv" / "bin").mkdir(parents=True)
    (clone / ".local" / "venv" / "bin" / "python").symlink_to(sys.executable)
    options = f"--isolated --ignore-installed --target={clone} --index-url=http://127.0.0.1:1 --retries=0"
    pip = f'#!/bin/sh\nexec {sys.executable} -m pip "$@" {options}\n'
    write_script(clone / ".local" / "venv" / "bin", "pip", pip)
    printed = make(clone, f"PORT={free_port()}")
    assert printed.count("\n") == 1
    assert "pip could not install the packages (ERROR: " in printed
    assert "check the network" in printed


def interrupt(clone: Path, begun: Callable[[], bool], *words: str, **environment: str) -> str:
    """Run `make run` in a terminal and press Ctrl-C when it has begun something; return what the terminal shows."""
    child, terminal = pty.fork()
    if child == 0:
        os.chdir(clone)
        os.execvpe("make", ["make", "run", *words], os.environ | environment)  # noqa: S606
    deadline = time.monotonic() + 60
    while not begun():
        assert time.monotonic() < deadline
        time.sleep(0.01)
    os.write(terminal, b"\x03")
    shown = b""
    with suppress(OSError):  # the end of the terminal
        while block := os.read(terminal, 4096):
            shown += block
    os.close(terminal)
    os.waitpid(child, 0)
    return shown.decode()


def test_ctrl_c_during_the_installation_prints_nothing(clone: Path) -> None:
    begun = clone / "begun"
    sleeping = f"mkdir -p .local/venv/bin; touch .local/venv/bin/python {begun}; exec sleep 60"
    shown = interrupt(clone, begun.exists, "PYTHON=../stand-in", f"PORT={free_port()}", ON_VENV=sleeping)
    assert shown.partition("^C")[2] == ""


def test_ctrl_c_during_the_start_prints_nothing(clone: Path) -> None:
    (clone / ".local").mkdir()
    (clone / ".local" / "venv").symlink_to(Path(sys.executable).parent.parent)
    begun = clone / ".local" / "run" / "postgres.log"
    installed = "--old-file=.local/venv/.run"  # nothing is installed into the environment of these tests
    assert interrupt(clone, begun.exists, installed, f"PORT={free_port()}").partition("^C")[2] == ""
