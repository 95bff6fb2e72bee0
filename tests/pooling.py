"""PgBouncer with the program's own configuration, moved from a pod's folders and addresses to this machine's."""

import shutil
from pathlib import Path

from tests.absence import no_program
from tests.infra.program import Program

CONFIGURATION, USERS, TLS = "pgbouncer.ini", "userlist.txt", "tls"


def executable() -> str:
    """Find the program; where it is missing the test ends, and says so."""
    found = shutil.which("pgbouncer", path="/usr/sbin:/usr/bin:/usr/local/bin")
    if found is None:
        no_program("pgbouncer", "pgbouncer")
    return found


def write_configuration(program: Program, folder: Path, listen: int, server: int, host: str = "") -> Path:
    """Write pgbouncer.ini: it listens at a port of this machine, and has the list of users and TLS in the folder."""
    text: str = program.find("ConfigMap", "pgbouncer-config").inputs["data"][CONFIGURATION]
    named = f"host={program.outputs['databaseHost']} port=5432"
    moved = {
        "/etc/neobank/credentials": str(folder),
        "/etc/neobank/tls": str(folder / TLS),
        "listen_addr = *": "listen_addr = 127.0.0.1",
        "listen_port = 5432": f"listen_port = {listen}",
        named: f"host={host or program.outputs['databaseHost']} port={server}",
    }
    for what, where in moved.items():
        assert what in text or what.endswith("tls"), what
        text = text.replace(what, where)
    (folder / CONFIGURATION).write_text(text, encoding="utf-8")
    return folder / CONFIGURATION
