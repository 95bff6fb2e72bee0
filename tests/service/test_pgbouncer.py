"""PgBouncer in transaction mode may stand in front: fewer connections than threads, each another one's in turn."""

import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from sqlalchemy import URL, Engine, text

from neobank.settings import UpgradeSettings
from tests.absence import no_program
from tests.service.conftest import ADMINISTRATOR
from tests.service.flood import Flood
from tests.service.serving import Served, gunicorn
from tests.service.support import Database
from tools.postgres import as_nobody, free_port

CONNECTIONS = 3
"""To PostgreSQL; the service has two workers of eight threads."""

CONFIGURATION = """
[databases]
* = host={host} port={port}
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {listen}
unix_socket_dir =
auth_type = scram-sha-256
auth_file = {users}
pool_mode = transaction
default_pool_size = {connections}
max_client_conn = 100
"""
HELD = text("SELECT count(*) FROM pg_stat_activity WHERE usename = :role")


def await_listening(process: subprocess.Popen[bytes], port: int) -> None:
    deadline = time.monotonic() + 30
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except OSError:
            assert process.poll() is None, "pgbouncer ended"
            assert time.monotonic() < deadline, "pgbouncer does not listen"
            time.sleep(0.05)
        else:
            return


@pytest.fixture
def pooled(database: Database, tmp_path: Path) -> Iterator[URL]:
    """The application's URL, by way of PgBouncer."""
    program = shutil.which("pgbouncer", path="/usr/sbin:/usr/bin:/usr/local/bin")
    if program is None:
        no_program("pgbouncer", "pgbouncer")
    url, listen = database.url("application"), free_port()
    users, configuration, log = tmp_path / "users.txt", tmp_path / "pgbouncer.ini", tmp_path / "pgbouncer.log"
    users.write_text(f'"{url.username}" "{url.password}"\n')
    configuration.write_text(
        CONFIGURATION.format(host=url.host, port=url.port, listen=listen, users=users, connections=CONNECTIONS)
    )
    with log.open("wb") as output:
        process = subprocess.Popen([*as_nobody(), program, str(configuration)], stdout=output, stderr=output)
    try:
        await_listening(process, listen)
        yield url.set(host="127.0.0.1", port=listen)
    finally:
        process.terminate()
        process.wait(timeout=30)
        sys.stdout.write(log.read_text())


@pytest.fixture
def served(pooled: URL, engine: Engine, fresh: UpgradeSettings, tmp_path: Path) -> Iterator[Served]:
    """The service behind it; the tests' own connections by the same role are closed, so that what is left is its."""
    del fresh
    engine.dispose()
    with gunicorn(pooled, tmp_path / "gunicorn.log") as running:
        yield running


def test_a_flood_through_it_moves_each_payment_once(
    served: Served, engine: Engine, owner: Engine, database: Database, books: Callable[[], None]
) -> None:
    bank = served.bank
    players = [bank.join(f"Player {index}") for index in range(6)]
    most = 0
    with Flood(bank, players) as flood:
        for _ in range(10):
            flood.await_confirmed(20)
            with owner.connect() as connection:
                role = {"role": database.url("application").username}
                most = max(most, connection.execute(HELD, role).scalar_one())
    assert 1 <= most <= CONNECTIONS
    assert not flood.unanswered
    flood.settle(engine)
    books()


def test_keys_sessions_and_charges_work_through_it(served: Served, books: Callable[[], None]) -> None:
    bank = served.bank
    neo, bar = bank.join("Neo"), bank.join("Bar")
    payment: dict[str, object] = {"to_account": bar.number, "amount": 7}
    with ThreadPoolExecutor(12) as pool:
        answers = list(
            pool.map(
                lambda _: bank.call("/api/v1/transactions", payment, neo.token, {"Idempotency-Key": "k"}), range(12)
            )
        )
    assert {status for status, _ in answers} == {201}
    assert all(body == answers[0][1] for _, body in answers)
    organiser = bank.log_in(ADMINISTRATOR.name, ADMINISTRATOR.password)
    wanted: dict[str, object] = {"description": "bar", "account": bar.number}
    terminal = {"X-API-Key": bank.call("/api/admin/api-keys", wanted, organiser.token)[1]["key"]}
    for number in range(10):
        once = terminal | {"Idempotency-Key": f"charge {number}"}
        charge, again = (bank.call("/api/v1/external/charges", {"amount": 1}, more_headers=once)[1] for _ in range(2))
        assert charge["id"] == again["id"]
        path = f"/api/v1/charges/{charge['code']}/approve"
        with ThreadPoolExecutor(3) as pool:
            approvals = list(pool.map(lambda _, path=path: bank.call(path, {}, neo.token)[0], range(3)))
        assert sorted(approvals) == [201, 409, 409]
    assert bank.balance(neo) == 1000 - 7 - 10
    assert bank.call(f"/api/admin/users/{neo.number}/freeze", {}, organiser.token)[0] == 200
    assert {bank.call("/api/v1/account", token=neo.token)[0] for _ in range(8)} == {401}
    books()
