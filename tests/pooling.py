"""PgBouncer with the configuration of the Pulumi program; a pod's paths and addresses are replaced with local ones."""

import shutil
from pathlib import Path

from tests.absence import no_program
from tests.infra.program import Program

CONFIGURATION, USERS, TLS = "pgbouncer.ini", "userlist.txt", "tls"


def executable() -> str:
    """Return the path of PgBouncer; skip or fail the test if it is not installed."""
    found = shutil.which("pgbouncer", path="/usr/sbin:/usr/bin:/usr/local/bin")
    if found is None:
        no_program("pgbouncer", "pgbouncer")
    return found


def write_configuration(program: Program, folder: Path, listen: int, server: int, host: str = "") -> Path:
    """Write pgbouncer.ini to a folder that also has userlist.txt and the TLS files.

    PgBouncer listens on the local port `listen` and connects to PostgreSQL on the port `server`.
    """
    text: str = program.find("ConfigMap", "pgbouncer-config").inputs["data"][CONFIGURATION]
    original = f"host={program.outputs['databaseHost']} port=5432"
    replaced = {
        "/etc/neobank/credentials": str(folder),
        "/etc/neobank/tls": str(folder / TLS),
        "listen_addr = *": "listen_addr = 127.0.0.1",
        "listen_port = 5432": f"listen_port = {listen}",
        original: f"host={host or program.outputs['databaseHost']} port={server}",
    }
    for old, new in replaced.items():
        assert old in text or old.endswith("tls"), old
        text = text.replace(old, new)
    (folder / CONFIGURATION).write_text(text, encoding="utf-8")
    return folder / CONFIGURATION
