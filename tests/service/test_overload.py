"""A database that does not answer: liveness is not affected, and requests that wait too long receive a 503."""

import os
import signal
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest
from sqlalchemy import Engine, text

from tests.bank import Bank, Player
from tests.service.locks import await_waiting, locked_balance
from tests.service.serving import CONNECTIONS, WORKERS, Served, children

pytestmark = pytest.mark.usefixtures("books")


@contextmanager
def stopped_server(owner: Engine) -> Iterator[None]:
    """Stop every process of the database server with SIGSTOP until the end of the block."""
    with owner.connect() as connection:
        backend: int = connection.execute(text("SELECT pg_backend_pid()")).scalar_one()
    postmaster = int(Path(f"/proc/{backend}/stat").read_text().rsplit(")", 1)[1].split()[1])
    processes = [postmaster, *children(postmaster)]
    for process in processes:
        os.kill(process, signal.SIGSTOP)
    try:
        yield
    finally:
        for process in processes:
            os.kill(process, signal.SIGCONT)


def probe_while_pending(bank: Bank, pending: list[Future[tuple[int, str | None]]]) -> int:
    """Send liveness probes until no request is pending; assert each, and return their number."""
    probes = 0
    while not all(future.done() for future in pending):
        started = time.monotonic()
        assert bank.call("/health")[0] == 200
        assert time.monotonic() - started < 5, "a probe waited for the database"
        probes += 1
        time.sleep(0.1)
    return probes


def pay(bank: Bank, payer: Player, receiver: Player) -> tuple[int, str | None]:
    """Return the status and the Retry-After header of a payment of ¤1."""
    status, _, headers = bank.ask("/api/v1/transactions", {"to_account": receiver.number, "amount": 1}, payer.token)
    return status, headers["Retry-After"]


def test_forty_payments_that_wait_for_one_row_do_not_delay_liveness(
    served: Served, owner: Engine, engine: Engine
) -> None:
    bank = served.bank
    payer, receiver = bank.join("Neo"), bank.join("Trinity")
    with ThreadPoolExecutor(40) as pool:
        with locked_balance(owner, payer.number):
            pending = [pool.submit(pay, bank, payer, receiver) for _ in range(40)]
            await_waiting(engine, WORKERS * CONNECTIONS)
            assert probe_while_pending(bank, pending) > 0
        answers = [future.result() for future in pending]
    assert {status for status, _ in answers} == {503}
    assert all(retry_after for _, retry_after in answers)
    assert bank.balance(payer) == 1000
    assert pay(bank, payer, receiver)[0] == 201


def test_a_server_that_stands_still_gets_a_503_and_liveness_is_unaffected(served: Served, owner: Engine) -> None:
    bank = served.bank
    payer, receiver = bank.join("Neo"), bank.join("Trinity")
    assert pay(bank, payer, receiver)[0] == 201
    with ThreadPoolExecutor(40) as pool, stopped_server(owner):
        pending = [pool.submit(pay, bank, payer, receiver) for _ in range(40)]
        assert probe_while_pending(bank, pending) > 0
        answers = [future.result() for future in pending]
    assert {status for status, _ in answers} == {503}
    assert all(retry_after for _, retry_after in answers)
    bank.await_ready()
    paid = 1000 - bank.balance(payer)  # statements that the server received before it stopped may have been carried out
    assert bank.balance(receiver) == 1000 + paid
    assert pay(bank, payer, receiver)[0] == 201
