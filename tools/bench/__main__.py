"""Measure, print one table. Nothing here passes or fails: a shared machine's figures are for reading, not for CI.

python -m tools.bench [--rounds 5] [--seconds 5] [--large]
"""

import argparse
import os
import shutil
import sys
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Final

from neobank.database import connect
from neobank.ledger.verification import verify
from tools.bench.bank import Bench, Traffic
from tools.bench.core import Callers
from tools.bench.load import Load, send
from tools.bench.pgbench import Pgbench
from tools.bench.report import Measured, alternate, header, line, note
from tools.bench.server import Server
from tools.errors import UserError
from tools.postgres import REPOSITORY, Postgres, PostgresError

CLIENTS: Final = 16
WORKERS: Final = 2
HISTORY: Final = 10_000  # rows
LARGE_HISTORY: Final = 1_000_000  # rows
SOAK: Final = 10_000  # requests
YARDSTICK: Final = "pgbench -s 100 (TPC-B)"


@dataclass(frozen=True, slots=True)
class Run:
    """One run of the bench: how long, and on what."""

    bench: Bench
    yardstick: Pgbench
    rounds: int
    seconds: float

    def core(self) -> None:
        """Measure the ledger without the web."""
        with Callers(self.bench.urls["application"], CLIENTS) as callers:
            measured = self.alternate("core", lambda traffic: callers.rate(traffic, self.seconds))
        self.show(measured, "core", reach=0.8, contended=None)

    def http(self, *, rows: int) -> None:
        """Measure the service, with at least so many rows of history."""
        found = self.bench.fill_history(rows)
        name = f"HTTP on {rows:_} rows".replace("_", " ")
        loads: dict[Traffic, list[Load]] = {}
        with Server(self.bench.environment, workers=WORKERS) as server:

            def rate(traffic: Traffic) -> float:
                load = send(server.port, traffic, CLIENTS, self.seconds)
                loads.setdefault(traffic, []).append(load)
                return load.rate

            measured = self.alternate(name, rate)
        self.show(measured, name, reach=0.15, contended=0.8)
        note("  p95 of uniform pairs", f"{median(load.p95 for load in loads[self.bench.uniform]) * 1000:.0f} ms")
        note("  rows before", str(found))
        client_share = max(load.client_share for several in loads.values() for load in several)
        note("  the clients' share of one core, at most", f"{client_share:.0%}")

    def alternate(self, name: str, rate: Callable[[Traffic], float]) -> Measured:
        """Measure the yardstick and every kind of traffic in turn."""
        return alternate(
            {
                YARDSTICK: lambda: self.yardstick.rate(CLIENTS, self.seconds),
                f"{name}: uniform pairs": lambda: rate(self.bench.uniform),
                f"{name}: all pay one row": lambda: rate(self.bench.to_one_row),
                f"{name}: all pay 32 shards": lambda: rate(self.bench.to_shards),
            },
            self.rounds,
        )

    def show(self, measured: Measured, name: str, *, reach: float, contended: float | None) -> None:
        """Print the lines of one part of the table, with the ratios to reach."""
        line(measured, YARDSTICK)
        line(measured, f"{name}: uniform pairs", base=YARDSTICK, reach=reach)
        line(measured, f"{name}: all pay one row", base=f"{name}: uniform pairs", reach=contended)
        line(measured, f"{name}: all pay 32 shards", base=f"{name}: uniform pairs", reach=contended)

    def process(self) -> None:
        """Measure one worker: how soon it serves, and what memory it holds after many requests."""
        with Server(self.bench.environment, workers=1) as server:
            note("one worker: from start to ready", f"{server.startup:.2f} s")
            sent = send(server.port, self.bench.uniform, CLIENTS, 0).requests
            early = server.worker_memory()
            while sent < SOAK:
                sent += send(server.port, self.bench.uniform, CLIENTS, self.seconds).requests
            note(f"its memory after {sent} requests", f"{server.worker_memory() / 2**20:.0f} MiB")
            note("  and after the first 16", f"{early / 2**20:.0f} MiB")


def main() -> None:
    """Measure everything on a database that is thrown away."""
    parser = argparse.ArgumentParser(prog="python -m tools.bench")
    parser.add_argument("--rounds", type=int, default=5, help="how often each is measured; medians are shown")
    parser.add_argument("--seconds", type=float, default=5, help="how long each is measured")
    parser.add_argument("--large", action="store_true", help=f"also with {LARGE_HISTORY} rows of history")
    arguments = parser.parse_args()
    home = REPOSITORY / ".local" / "bench"
    shutil.rmtree(home, ignore_errors=True)
    home.mkdir(mode=0o700, parents=True)
    try:
        measure(home, rounds=arguments.rounds, seconds=arguments.seconds, large=arguments.large)
    except (PostgresError, UserError) as error:
        sys.exit(f"make bench: {error}")
    finally:
        shutil.rmtree(home, ignore_errors=True)


def measure(home: Path, *, rounds: int, seconds: float, large: bool) -> None:
    """Print the table. Raises PostgresError or UserError."""
    with ExitStack() as stack:
        postgres = Postgres.embedded(home)
        postgres.start()
        stack.callback(postgres.stop)
        yardstick = Pgbench(postgres)
        yardstick.prepare()
        run = Run(Bench.prepare(postgres, home), yardstick, rounds, seconds)
        header(clients=CLIENTS, workers=WORKERS, rounds=rounds, seconds=seconds, load=os.getloadavg()[0])
        run.http(rows=HISTORY)
        run.core()
        if large:
            run.http(rows=LARGE_HISTORY)
        run.process()
        require_sound_books(run.bench)


def require_sound_books(bench: Bench) -> None:
    """Refuse figures that were made by losing money. Raises UserError."""
    engine = connect(bench.urls["owner"])
    with engine.connect().execution_options(isolation_level="REPEATABLE READ") as connection, connection.begin():
        verdict = verify(connection)
    engine.dispose()
    if not verdict.sound:
        raise UserError(f"the books are wrong after this run: {verdict.differences[:5]}")
    note("books", f"sound: {verdict.transfers} transfers")


if __name__ == "__main__":
    main()
