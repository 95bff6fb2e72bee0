"""The memory of the serving processes under load, as the limit of a pod counts it."""

import random
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from settings import MEBIBYTES_A_WORKER
from tests.service.serving import WORKERS, Served, children

pytestmark = pytest.mark.usefixtures("books")

CLIENTS = 64
REQUESTS = 500

SMALLEST_POD = (WORKERS + 1) * MEBIBYTES_A_WORKER * 1024 * 1024
"""The least memory that a stack may give these workers, in bytes."""


def memory(process: int) -> int:
    """Return the memory of a process and its children, in bytes; what they share counts once."""
    rollups = [Path(f"/proc/{each}/smaps_rollup").read_text() for each in (process, *children(process))]
    return sum(int(rollup.partition("\nPss:")[2].split()[0]) * 1024 for rollup in rollups)


def test_under_load_the_smallest_pod_has_forty_per_cent_of_its_memory_left(served: Served) -> None:
    bank = served.bank
    names = [f"Player {number}" for number in range(4)]
    players = [bank.join(name) for name in names]

    def request(number: int) -> int:
        own, kind = number % 4, random.Random(number).random()  # noqa: S311  # the same each time
        if kind < 0.2:
            who: dict[str, object] = {"character_name": names[own], "password": "password of " + names[own]}
            return bank.call("/api/v1/auth/login", who)[0]
        if kind < 0.6:
            return bank.pay(players[own], players[own - 1], 0.01)[0]
        return bank.call("/api/v1/account/transactions?limit=100", token=players[own].token)[0]

    with ThreadPoolExecutor(CLIENTS) as pool:
        statuses = set(pool.map(request, range(REQUESTS)))
    assert statuses <= {200, 201, 503}
    assert memory(served.process.pid) < 0.6 * SMALLEST_POD
