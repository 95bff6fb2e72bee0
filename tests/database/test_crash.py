"""A confirmed payment is there after kill -9 of every process, and nothing stale keeps the server from starting."""

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
    """Pay until the server is gone."""
    with session(as_role(server, "owner")) as connection, connection.cursor() as cursor:
        for payment in range(client + CLIENTS, MOST, CLIENTS):
            try:
                cursor.execute("INSERT INTO payments VALUES (%s)", (payment,))
            except psycopg2.OperationalError:
                return
            confirmed.append(payment)


def test_every_confirmed_payment_outlives_a_crash(running: Postgres) -> None:
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
    there = payments(running)
    assert set(confirmed) <= set(there)
    assert len(there) - len(confirmed) <= CLIENTS, "more than the payments in flight"


@pytest.fixture
def crashed(running: Postgres) -> Iterator[Postgres]:
    """A killed server, whose stale postmaster.pid names a process that lives."""
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


def test_a_stale_pid_stops_no_preparation(crashed: Postgres) -> None:
    crashed.start()
    assert payments(crashed) == [1]


def test_a_stale_pid_stops_no_server_that_starts_again_in_its_pod(crashed: Postgres) -> None:
    with second_serve(crashed) as (again, port):
        await_payments(crashed, port, again)
