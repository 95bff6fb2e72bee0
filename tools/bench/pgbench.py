"""The yardstick: pgbench's TPC-B, on the same server as what it measures."""

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
    """pgbench on a server, at a scale; its tables have a schema of their own."""

    postgres: Postgres
    scale: int

    @property
    def name(self) -> str:
        """What it is called in the table."""
        return f"pgbench -s {self.scale} (TPC-B)"

    def prepare(self) -> None:
        """Make its tables (15 MB for 1). Raises UserError where the server does not write everything down."""
        for setting in SAFE:
            if self._ask(f"SHOW {setting}") != "on":
                raise UserError(f"the server has {setting} off: figures made so would be worth nothing.")
        self._ask(f"CREATE SCHEMA pgbench_{self.scale}")
        self._run("pgbench", "--initialize", f"--scale={self.scale}", "--quiet")

    def rate(self, clients: int, seconds: float) -> float:
        """Give the transactions per second that so many clients make."""
        output = self._run("pgbench", "--no-vacuum", f"--client={clients}", "--jobs=2", f"--time={max(1, seconds):.0f}")
        found = re.search(r"^tps = ([0-9.]+) \(without initial connection time\)", output, re.MULTILINE)
        if found is None:
            raise UserError(f"pgbench printed no tps: {output}")
        return float(found[1])

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
