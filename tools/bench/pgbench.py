"""The yardstick: pgbench's TPC-B, on the same server as the bank."""

import os
import re
import subprocess
from dataclasses import dataclass
from typing import Final

from sqlalchemy import make_url

from tools.errors import UserError
from tools.postgres import Postgres

SAFE: Final = ("fsync", "synchronous_commit", "full_page_writes")


@dataclass(frozen=True, slots=True)
class Pgbench:
    """pgbench on a server, at a scale. Its tables are in a separate schema."""

    postgres: Postgres
    scale: int

    @property
    def name(self) -> str:
        """Its name in the table."""
        return f"pgbench -s {self.scale} (TPC-B)"

    def prepare(self) -> None:
        """Create its tables (15 MB per unit of scale). Raise UserError if the server runs without durability."""
        for setting in SAFE:
            if self._ask(f"SHOW {setting}") != "on":
                raise UserError(f"the server has {setting} off: turn it on, otherwise the figures are invalid.")
        self._ask(f"CREATE SCHEMA pgbench_{self.scale}")
        self._run("pgbench", "--initialize", f"--scale={self.scale}", "--quiet")

    def rate(self, clients: int, seconds: float) -> float:
        """Return the transactions per second with this number of clients."""
        output = self._run("pgbench", "--no-vacuum", f"--client={clients}", "--jobs=2", f"--time={max(1, seconds):.0f}")
        match = re.search(r"^tps = ([0-9.]+) \(without initial connection time\)", output, re.MULTILINE)
        if match is None:
            raise UserError(f"the output of pgbench contains no tps: {output}")
        return float(match[1])

    def _ask(self, sql: str) -> str:
        return self._run("psql", "--no-psqlrc", "--quiet", "--tuples-only", "--command", sql).strip()

    def _run(self, program: str, *options: str) -> str:
        url = make_url(self.postgres.url("owner"))
        environment = {
            **os.environ,
            "PGHOST": url.host or "",
            "PGPORT": str(url.port),
            "PGUSER": url.username or "",
            "PGPASSWORD": url.password or "",
            "PGDATABASE": url.database or "",
            "PGOPTIONS": f"-c search_path=pgbench_{self.scale}",
        }
        command = [str(self.postgres.binaries / program), *options]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise UserError(f"{program} failed: {done.stderr.strip().splitlines()[-1:]}")
        return done.stdout
