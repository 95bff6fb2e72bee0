"""Two servers never run on one volume: the second waits until every process of the first has ended."""

import fcntl
import os
import signal
from pathlib import Path

import pytest

from tests.database.support import (
    as_role,
    await_payments,
    eventually,
    kill_users,
    own_process_namespace,
    payments,
    pod,
    second_serve,
    session,
    users_of,
)
from tools.postgres import Postgres

WAITING = "another server still uses"


def assert_held(server: Postgres) -> None:
    with (server.volume / ".lock").open("a") as lock, pytest.raises(BlockingIOError):
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)


def test_a_second_prepare_waits_for_the_first_server(running: Postgres) -> None:
    second = pod(running, "prepare")
    second.await_words(WAITING)
    assert_held(running)
    assert payments(running) == [1]
    assert second.process.poll() is None
    running.stop()
    assert second.ends() == 0, second.errors()


def test_a_second_server_in_another_pid_namespace_waits_for_the_first(running: Postgres) -> None:
    with second_serve(running, identity=own_process_namespace()) as (second, port):
        second.await_words(WAITING)
        assert_held(running)
        assert payments(running) == [1]
        assert second.process.poll() is None
        running.stop()
        await_payments(running, port, second)


def test_a_backend_that_outlives_its_server_keeps_the_lock(running: Postgres) -> None:
    with session(as_role(running, "owner")) as connection:
        backend = connection.info.backend_pid
        os.kill(backend, signal.SIGSTOP)
        try:
            running.kill()
            eventually(lambda: users_of(running.volume) == {backend}, "the end of all but the stopped backend")
            with second_serve(running) as (second, port):
                second.await_words(WAITING)
                assert_held(running)
                assert second.process.poll() is None
                os.kill(backend, signal.SIGCONT)
                await_payments(running, port, second)
        finally:
            kill_users(running.volume)


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGINT])
def test_a_waiting_pod_can_be_stopped(running: Postgres, how: signal.Signals) -> None:
    waiting = pod(running, "prepare", identity=own_process_namespace())
    waiting.await_words(WAITING)
    children = Path(f"/proc/{waiting.process.pid}/task/{waiting.process.pid}/children").read_text(encoding="utf-8")
    os.kill(int(children), how)
    assert waiting.ends() != 0
    assert payments(running) == [1]


def test_a_stopped_preparation_leaves_no_server(kept: Postgres) -> None:
    prepare = pod(kept, "prepare")
    eventually((kept.volume / "18" / "postmaster.pid").exists, "the roles' server", prepare.errors)
    prepare.process.send_signal(signal.SIGTERM)
    assert prepare.ends() != 0
    assert users_of(kept.volume) == set()
    kept.start()
    assert payments(kept) == [1]
