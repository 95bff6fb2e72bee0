"""The yardstick: pgbench's TPC-B at scale 100, by the same role's way in and on the same server as what it measures."""

import os
import re
import subprocess
from dataclasses import dataclass
from typing import Final

from sqlalchemy import make_url

from tools.errors import UserError
from tools.postgres import Postgres

SCALE: Final = 100


@dataclass(frozen=True, slots=True)
class Pgbench:
    """pgbench on a server."""

    postgres: Postgres

    def prepare(self) -> None:
        """Make its tables (1.5 GB). Raises UserError where the server does not write everything down."""
        for setting in ("fsync", "synchronous_commit", "full_page_writes"):
            if self._run("psql", "--no-psqlrc", "--tuples-only", "--command", f"SHOW {setting}").strip() != "on":
                raise UserError(f"the server has {setting} off: figures made so would be worth nothing.")
        self._run("pgbench", "--initialize", f"--scale={SCALE}", "--quiet")

    def rate(self, clients: int, seconds: float) -> float:
        """Give the transactions per second that so many clients make."""
        output = self._run("pgbench", "--no-vacuum", f"--client={clients}", "--jobs=2", f"--time={max(1, seconds):.0f}")
        found = re.search(r"^tps = ([0-9.]+) \(without initial connection time\)", output, re.MULTILINE)
        if found is None:
            raise UserError(f"pgbench printed no tps: {output}")
        return float(found[1])

    def _run(self, program: str, *options: str) -> str:
        url = make_url(self.postgres.url("owner"))
        environment = {
            **os.environ,
            "PGHOST": url.host or "",
            "PGPORT": str(url.port),
            "PGUSER": url.username or "",
            "PGPASSWORD": url.password or "",
            "PGDATABASE": url.database or "",
        }
        command = [str(self.postgres.binaries / program), *options]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise UserError(f"{program} failed: {done.stderr.strip().splitlines()[-1:]}")
        return done.stdout
