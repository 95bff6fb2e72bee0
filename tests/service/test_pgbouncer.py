"""The service works through PgBouncer with the program's configuration, which shares fewer connections than threads."""

import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pytest
from sqlalchemy import URL, Engine, text

from neobank.settings import UpgradeSettings
from tests import pooling
from tests.infra.program import DIGEST_IMAGE, merged, run, stack_file
from tests.service.flood import Flood
from tests.service.serving import Served, gunicorn
from tests.service.support import ADMINISTRATOR, Books, Database
from tools.postgres import as_nobody, free_port

CONNECTIONS = 3
"""The connections of PgBouncer to PostgreSQL; the service has two workers of eight threads."""

POOLED = {"pgbouncer": {"enabled": True, "image": DIGEST_IMAGE, "connections": CONNECTIONS}}
SESSIONS = text("SELECT pid FROM pg_stat_activity WHERE usename = :role")


@dataclass
class Pooler:
    """A PgBouncer process, and the application's URL that leads to it."""

    url: URL
    command: list[str]
    log: Path
    others: set[int]
    """The server's processes for the application's role before PgBouncer started."""
    process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        with self.log.open("ab") as output:
            self.process = subprocess.Popen(self.command, stdout=output, stderr=output)
        deadline = time.monotonic() + 30
        while not self._listens():
            assert self.process.poll() is None, "pgbouncer ended"
            assert time.monotonic() < deadline, "pgbouncer does not listen"
            time.sleep(0.05)

    def stop(self) -> None:
        """Stop PgBouncer as its pod stops; its clients' connections end."""
        assert self.process is not None
        self.process.terminate()
        self.process.wait(timeout=30)

    def _listens(self) -> bool:
        try:
            socket.create_connection(("127.0.0.1", self.url.port or 0), timeout=1).close()
        except OSError:
            return False
        return True


def sessions(owner: Engine, url: URL) -> set[int]:
    """Return the server's processes for a URL's role."""
    with owner.connect() as connection:
        return set(connection.execute(SESSIONS, {"role": url.username}).scalars())


@pytest.fixture
def pooled(database: Database, owner: Engine, tmp_path: Path) -> Iterator[Pooler]:
    url, listen = database.url("application"), free_port()
    assert url.host
    assert url.port
    (tmp_path / pooling.USERS).write_text(f'"{url.username}" "{url.password}"\n')
    program = run(merged(stack_file("dev"), POOLED))
    configuration = pooling.write_configuration(program, tmp_path, listen, url.port, url.host)
    command = [*as_nobody(), pooling.executable(), str(configuration)]
    others = sessions(owner, url)
    pooler = Pooler(url.set(host="127.0.0.1", port=listen), command, tmp_path / "pgbouncer.log", others)
    pooler.start()
    try:
        yield pooler
    finally:
        pooler.stop()
        sys.stdout.write(pooler.log.read_text())


@pytest.fixture
def served(pooled: Pooler, fresh: UpgradeSettings, tmp_path: Path) -> Iterator[Served]:
    """The service with PgBouncer."""
    del fresh
    with gunicorn(pooled.url, tmp_path / "gunicorn.log") as running:
        yield running


def test_concurrent_payments_through_pgbouncer_each_move_money_once(
    pooled: Pooler, served: Served, engine: Engine, owner: Engine, books: Books
) -> None:
    bank = served.bank
    players = [bank.join(f"Player {index}") for index in range(6)]
    most = 0
    with Flood(bank, players) as flood:
        for _ in range(10):
            flood.await_confirmed(20)
            most = max(most, len(sessions(owner, pooled.url) - pooled.others))
    assert 1 <= most <= CONNECTIONS
    assert not flood.unanswered
    flood.settle(engine)
    books()


def test_restarting_pgbouncer_loses_and_repeats_no_payment(
    pooled: Pooler, served: Served, engine: Engine, books: Books
) -> None:
    bank = served.bank
    players = [bank.join(f"Player {index}") for index in range(6)]
    with Flood(bank, players) as flood:
        for _ in range(3):
            flood.await_confirmed(40)
            pooled.stop()
            pooled.start()
        flood.await_confirmed(40)
    flood.settle(engine)
    books()


def test_idempotency_keys_sessions_and_charges_work_through_pgbouncer(served: Served, books: Books) -> None:
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
