"""A confirmed payment survives SIGKILL of every process, and a stale pid file does not prevent a start."""

import subprocess
import threading
from collections.abc import Iterator

import psycopg2
import pytest

from tests.database.support import (
    as_role,
    await_payments,
    eventually,
    kill_users,
    payments,
    second_serve,
    session,
)
from tools.postgres import Postgres

CLIENTS = 4
ENOUGH = 400
MOST = 20_000


def insert(server: Postgres, client: int, confirmed: list[int]) -> None:
    """Insert payments until the server has ended."""
    with session(as_role(server, "owner")) as connection, connection.cursor() as cursor:
        for payment in range(client + CLIENTS, MOST, CLIENTS):
            try:
                cursor.execute("INSERT INTO payments VALUES (%s)", (payment,))
            except psycopg2.OperationalError:
                return
            confirmed.append(payment)


def test_every_confirmed_payment_survives_a_crash(running: Postgres) -> None:
    confirmed: list[int] = [1]
    clients = [threading.Thread(target=insert, args=(running, number, confirmed)) for number in range(CLIENTS)]
    for client in clients:
        client.start()
    eventually(lambda: len(confirmed) > ENOUGH, "enough payments", lambda: str(len(confirmed)))
    kill_users(running.volume)
    for client in clients:
        client.join(timeout=30)
        assert not client.is_alive()
    running.kill()
    running.start()
    stored = payments(running)
    assert set(confirmed) <= set(stored)
    assert len(stored) - len(confirmed) <= CLIENTS, "more than the payments in flight"


@pytest.fixture
def crashed(running: Postgres) -> Iterator[Postgres]:
    """A killed server whose stale postmaster.pid contains the id of another, running process."""
    kill_users(running.volume)
    running.kill()
    file = running.volume / "18" / "postmaster.pid"
    stranger = subprocess.Popen(["sleep", "60"])
    try:
        _, *rest = file.read_text(encoding="utf-8").splitlines()
        file.write_text("\n".join([str(stranger.pid), *rest]), encoding="utf-8")
        yield running
    finally:
        stranger.kill()
        stranger.wait()


def test_a_stale_pid_does_not_prevent_the_preparation(crashed: Postgres) -> None:
    crashed.start()
    assert payments(crashed) == [1]


def test_a_stale_pid_does_not_prevent_a_restart_in_the_pod(crashed: Postgres) -> None:
    with second_serve(crashed) as (again, port):
        await_payments(crashed, port, again)
