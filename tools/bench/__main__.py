"""Measure and print a table. Nothing passes or fails: the figures of a shared machine are not a test for CI.

python -m tools.bench [--rounds 9] [--seconds 3] [--large]
"""

import argparse
import os
import shutil
import sys
from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Final

from tools.bench.bank import Bench
from tools.bench.core import Callers
from tools.bench.crowd import LOGINS, REGISTRATIONS, arrive_beside
from tools.bench.load import Load, send, send_steadily
from tools.bench.pgbench import SAFE, Pgbench
from tools.bench.report import Goal, alternate, header, line, note
from tools.bench.server import HARDLY_LIMITED, UNLIMITED, Server
from tools.bench.traffic import Traffic
from tools.errors import UserError
from tools.postgres import REPOSITORY, Postgres, PostgresError

CLIENTS: Final = 16
WORKERS: Final = 2
STEADY_RATE: Final = 50  # payments a second, as from 1,500 players who each pay every half a minute
CROWD_SECONDS: Final = 5  # until the last of a crowd is answered
HISTORY: Final = 10_000  # rows
LARGE_HISTORY: Final = 1_000_000  # rows
SOAK: Final = 10_000  # requests
LARGE_SCALE: Final = 100
ONE_BUSY_ROW: Final = 1  # a scale at which all transactions update one row, as all spins update the house's


@dataclass(frozen=True, slots=True)
class Run:
    """The parameters of one run of the bench, and its measurements."""

    bench: Bench
    transfers_yardstick: Pgbench
    spins_yardstick: Pgbench
    log: Path
    rounds: int
    seconds: float

    def payments_in_core(self) -> None:
        """Measure payments in the core, without HTTP."""
        yardstick, uniform = self.transfers_yardstick, "transfers, core"
        one_row, shards = f"{uniform}: all to one row", f"{uniform}: all to 32 shards"
        with Callers(self.bench.urls["application"], CLIENTS, WORKERS) as callers:
            measured = alternate(
                {
                    yardstick.name: self.rate(yardstick),
                    uniform: lambda: callers.rate(self.bench.uniform, self.seconds),
                    one_row: lambda: callers.rate(self.bench.to_one_row, self.seconds),
                    shards: lambda: callers.rate(self.bench.to_shards, self.seconds),
                },
                self.rounds,
            )
        line(measured, yardstick.name)
        line(measured, uniform, Goal(yardstick.name, reach=0.8, aim=1.0))
        line(measured, one_row, Goal(uniform))
        line(measured, shards, Goal(uniform))

    def payments_over_http(self, *, rows: int) -> None:
        """Measure payments over HTTP with at least `rows` transfers in the history."""
        yardstick, rows_before = self.transfers_yardstick, self.bench.fill_history(rows)
        uniform = f"transfers, HTTP, {rows:_} rows".replace("_", " ")
        limited, one_row, shards = (f"{uniform}: {it}" for it in ("limits on", "all to one row", "all to 32 shards"))
        loads = HttpLoads(self.seconds)
        with self.server(WORKERS) as server, self.server(WORKERS, HARDLY_LIMITED) as limiting:
            measured = alternate(
                {
                    yardstick.name: self.rate(yardstick),
                    uniform: loads.rate(uniform, server, self.bench.uniform),
                    limited: loads.rate(limited, limiting, self.bench.uniform),
                    one_row: loads.rate(one_row, server, self.bench.to_one_row),
                    shards: loads.rate(shards, server, self.bench.to_shards),
                },
                self.rounds,
            )
        line(measured, yardstick.name)
        line(measured, uniform, Goal(yardstick.name, reach=0.15, aim=0.25))
        line(measured, limited, Goal(uniform, reach=0.75))
        line(measured, one_row, Goal(uniform, reach=0.8))
        line(measured, shards, Goal(uniform, reach=0.8))
        note("  rows before", str(rows_before))
        loads.print_details()

    def spins(self) -> None:
        """Measure spins, in the core and over HTTP."""
        yardstick, core, http = self.spins_yardstick, "spins, core", "spins, HTTP"
        loads = HttpLoads(self.seconds)
        with Callers(self.bench.urls["application"], CLIENTS, WORKERS) as callers, self.server(WORKERS) as server:
            measured = alternate(
                {
                    yardstick.name: self.rate(yardstick),
                    core: lambda: callers.rate(self.bench.spins, self.seconds),
                    http: loads.rate(http, server, self.bench.spins),
                },
                self.rounds,
            )
        line(measured, yardstick.name)
        line(measured, core, Goal(yardstick.name, reach=0.9, aim=1.1))
        line(measured, http, Goal(yardstick.name, reach=0.22, aim=0.38))
        loads.print_details()

    def crowd(self) -> None:
        """Measure steady payments alone, and while a crowd registers and logs in."""
        alone, beside, statuses = list[float](), list[float](), Counter[int]()
        with self.server(WORKERS) as server:

            def p95() -> float:
                return send_steadily(server.port, self.bench.uniform, STEADY_RATE, CROWD_SECONDS).p95

            for number in range(self.rounds):
                alone.append(p95())
                measured, answers = arrive_beside(server.port, f"Crowd {number}", p95)
                beside.append(measured)
                statuses += answers
        crowd = f"{REGISTRATIONS} registrations and {LOGINS} log-ins in a second"
        note(f"{crowd}: statuses", ", ".join(f"{count} of {status}" for status, count in sorted(statuses.items())))
        note(f"  p95 of {STEADY_RATE} payments a second, alone", f"{median(alone) * 1000:.0f} ms")
        note(
            "  beside the crowd",
            f"{median(beside) * 1000:.0f} ms, {median(beside) / median(alone):.2f} of that (to reach: 1.5)",
        )

    def process(self) -> None:
        """Measure one worker: the seconds until it serves, and its memory after many requests."""
        with self.server(1) as server:
            note("one worker: from start to ready", f"{server.startup:.2f} s")
            sent = send(server.port, self.bench.uniform, CLIENTS, 0).responses
            early = server.worker_memory()
            while sent < SOAK:
                sent += send(server.port, self.bench.uniform, CLIENTS, self.seconds).responses
            note(f"one worker: memory after {sent} requests", f"{server.worker_memory() / 2**20:.0f} MiB")
            note("  after the first 16", f"{early / 2**20:.0f} MiB")

    def rate(self, yardstick: Pgbench) -> Callable[[], float]:
        """Return a function that measures a yardstick once."""
        return lambda: yardstick.rate(CLIENTS, self.seconds)

    def server(self, workers: int, limits: str = UNLIMITED) -> Server:
        """Return the service, not started."""
        return Server(self.bench.environment, self.log, workers=workers, limits=limits)


class HttpLoads:
    """The measurements over HTTP in all rounds, by the name of the traffic."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._loads: dict[str, list[Load]] = {}

    def rate(self, name: str, server: Server, traffic: Traffic) -> Callable[[], float]:
        """Return a function that measures a server once and keeps the details."""

        def measure() -> float:
            load = send(server.port, traffic, CLIENTS, self._seconds)
            self._loads.setdefault(name, []).append(load)
            return load.rate

        return measure

    def print_details(self) -> None:
        """Print the latencies and the clients' own use of the processor."""
        for name, loads in self._loads.items():
            note(f"  p95 of {name}", f"{median(load.p95 for load in loads) * 1000:.0f} ms")
        share = max(load.client_share for loads in self._loads.values() for load in loads)
        note("  clients' share of one core, at most", f"{share:.0%}")


def main() -> None:
    """Measure everything on a database that is deleted afterwards."""
    parser = argparse.ArgumentParser(prog="python -m tools.bench")
    parser.add_argument("--rounds", type=int, default=9, help="measurements of each subject; the table shows medians")
    parser.add_argument("--seconds", type=float, default=3, help="duration of a measurement")
    parser.add_argument("--large", action="store_true", help=f"measure also with {LARGE_HISTORY} rows of history")
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
    """Print the table. Raise PostgresError or UserError if a part fails."""
    with ExitStack() as stack:
        postgres = Postgres.embedded(home)
        postgres.start()
        stack.callback(postgres.stop)
        yardsticks = Pgbench(postgres, LARGE_SCALE), Pgbench(postgres, ONE_BUSY_ROW)
        for yardstick in yardsticks:
            yardstick.prepare()
        run = Run(Bench.prepare(postgres, home), *yardsticks, home / "service.log", rounds, seconds)
        header(
            clients=CLIENTS, workers=WORKERS, rounds=rounds, seconds=seconds, load=os.getloadavg()[0], settings_on=SAFE
        )
        run.payments_over_http(rows=HISTORY)
        run.payments_in_core()
        run.spins()
        run.crowd()
        if large:
            run.payments_over_http(rows=LARGE_HISTORY)
        run.process()
        transfers, rounds_played = run.bench.prove()
        note("books", f"correct: {transfers} transfers, {rounds_played} rounds recomputed")


if __name__ == "__main__":
    main()
