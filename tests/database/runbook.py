"""Imitates a cluster for the runbook docs/postgresql-upgrade.md: commands for containers run on this machine.

The old and the new server use one port at two loopback addresses; `kubectl` sets the variables of each container.
"""

import os
import re
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

from tests.database.support import as_role, await_answer, password, pod
from tests.infra.documents import code_blocks
from tests.scripts import write_script
from tools.postgres import REPOSITORY, Postgres

RUNBOOK = REPOSITORY / "docs" / "postgresql-upgrade.md"
OLD, NEW = "127.0.0.2", "127.0.0.1"  # with one port, as in a cluster

KUBECTL = r"""#!/bin/bash
# Imitates the cluster. In the pod `postgres-upgrade` the short name of the Service means the old server.
echo "kubectl $*" >>"$CALLS"
shift  # skip the option --namespace
case "$1" in
    get) cat "$OBJECTS" ;;
    apply) cat >"$APPLIED" ;;
    exec)
        container=bank
        [[ "$*" != *--container=copy* ]] || container=copy
        [ "$2" != deployment/neobank-deployment ] || export DATABASE_URL=$APPLICATION_URL
        while [ "$1" != -- ]; do shift; done
        shift
        words=("${@//\/tmp\//$POD/}")
        [ $container = bank ] || export PATH=$NEW_BINARIES:$PATH \
            PGHOST=127.0.0.1 PGDATABASE=neobank PGUSER=neobank_backup
        exec "${words[@]//postgres-service/$OLD_SERVER}"
        ;;
esac
"""
MAKE = '#!/bin/sh\necho "make $*" >>"$CALLS"\n'


@dataclass
class Cluster:
    """Two servers and a folder in which the runbook's commands run, for one upgrade."""

    folder: Path
    port: int
    old: Postgres
    new: Postgres
    calls: Path = field(init=False)

    def __post_init__(self) -> None:
        self.folder.mkdir()
        (self.folder / "tools").symlink_to(REPOSITORY / "tools")
        (self.folder / ".local").mkdir()
        (self.folder / ".local" / "venv").symlink_to(sys.prefix)
        self.calls = self.folder / "calls"
        for name, script in {"kubectl": KUBECTL, "make": MAKE}.items():
            write_script(self.folder, name, script)

    def paste(self, block: str, majors: tuple[str, str]) -> str:
        """Run a block of the runbook as a technician would, for the majors (old, new); return its output."""
        for mentioned, meant in zip(("17", "16"), (majors[1], majors[0]), strict=True):
            block = re.sub(rf"(postgres-|before-|--major ){mentioned}\b", rf"\g<1>{meant}", block)
        environment = {
            "PATH": f"{self.folder}:{Path(sys.executable).parent}:{os.environ['PATH']}",
            "CALLS": str(self.calls),
            "OBJECTS": str(self.folder / "deployed.json"),
            "APPLIED": str(self.folder / "applied.json"),
            "POD": str(self.folder),
            "OLD_SERVER": OLD,
            "NEW_BINARIES": str(self.new.binaries),
            "PGPORT": str(self.port),
            "PGPASSWORD": password(self.old, "backup"),
            "DATABASE_OWNER_URL": url(self.new, "owner", NEW),
            "APPLICATION_URL": url(self.new, "application", NEW),
        }
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", f"{code_blocks(RUNBOOK)[0]}\n{block}"],
            cwd=self.folder,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )
        assert done.returncode == 0, f"{block}\n{done.stdout}{done.stderr}"
        return done.stdout


def url(server: Postgres, role: str, address: str) -> str:
    """Return the URL with which a role logs in at an address."""
    return server.url(role).replace("@127.0.0.1:", f"@{address}:")


def serve(server: Postgres, address: str) -> None:
    """Prepare and start a server at an address of this machine."""
    prepared = pod(server, "prepare")
    assert prepared.process.wait(timeout=120) == 0, prepared.errors()
    options = [f"port={server.port}", f"listen_addresses={address}", f"unix_socket_directories={server.sockets}"]
    started = pod(server, "serve", *[word for option in options for word in ("-c", option)])
    server.process = started.process
    await_answer(as_role(server, "owner", host=address), "SELECT 1", started)
