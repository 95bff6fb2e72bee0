"""The commands in the outputs, run in a shell whose kubectl imitates a cluster."""

import os
import subprocess
from pathlib import Path

import pytest

from tests.infra.program import Program
from tests.scripts import write_script

PASSWORD_FILE = Path("/tmp/.pgpass")  # noqa: S108  # the command uses this path

KUBECTL = """#!/bin/sh
# An entry of a Secret has the value "<entry>-secret"; `exec` runs the command on this machine.
echo "kubectl $*" >>"$CALLS"
while [ "$1" != get ] && [ "$1" != exec ]; do shift; done
if [ "$1" = get ]; then
    template=${4#--output=go-template=}
    echo "$template" | sed -E 's/\\{\\{\\.data\\.([a-z]+) \\| base64decode\\}\\}/\\1-secret/'
    exit
fi
while [ "$1" != -- ]; do shift; done
shift
exec "$@"
"""
CLIENT = """#!/bin/sh
echo "$(basename "$0") $*" >>"$CALLS"
printf '%s' "$PGPASSWORD" >"$SEEN"
[ -z "$PGPASSFILE" ] || { cat "$PGPASSFILE"; stat -c %a "$PGPASSFILE"; } >"$SEEN"
cat
exit ${CLIENT_STATUS:-0}
"""


class Shell:
    """A technician's shell in its own folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.calls, self.seen = folder / "calls", folder / "seen"
        for name, script in {"kubectl": KUBECTL, "psql": CLIENT, "pg_dump": CLIENT}.items():
            write_script(folder, name, script)

    def paste(self, command: str, stdin: str = "", status: int = 0) -> subprocess.CompletedProcess[str]:
        environment = {
            "PATH": f"{self.folder}:{os.environ['PATH']}",
            "CALLS": str(self.calls),
            "SEEN": str(self.seen),
            "CLIENT_STATUS": str(status),
        }
        return subprocess.run(
            ["sh", "-c", command],
            cwd=self.folder,
            env=environment,
            input=stdin,
            text=True,
            capture_output=True,
            timeout=30,
            check=False,
        )


@pytest.fixture
def shell(tmp_path: Path) -> Shell:
    return Shell(tmp_path)


def test_psql_reads_the_serving_roles_password_from_a_file_that_is_then_removed(dev: Program, shell: Shell) -> None:
    assert not PASSWORD_FILE.exists()
    done = shell.paste(dev.outputs["psqlCommand"], stdin="SELECT 1;\n")
    assert (done.returncode, done.stdout, done.stderr) == (0, "SELECT 1;\n", "")
    assert shell.seen.read_text().split() == ["*:*:*:*:application-secret", "600"]
    assert "psql host=127.0.0.1 user=neobank_0 dbname=neobank\n" in shell.calls.read_text()
    assert "application-secret" not in shell.calls.read_text()
    assert not PASSWORD_FILE.exists()


def test_the_command_returns_the_exit_status_of_psql(dev: Program, shell: Shell) -> None:
    assert shell.paste(dev.outputs["psqlCommand"], status=3).returncode == 3
    assert not PASSWORD_FILE.exists()


def test_the_backup_uses_its_own_role(dev: Program, shell: Shell) -> None:
    done = shell.paste(dev.outputs["backupCommand"])
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert shell.seen.read_text() == "backup-secret"
    assert (
        "pg_dump --format=custom --exclude-schema=administration host=127.0.0.1 user=neobank_backup dbname=neobank\n"
        in shell.calls.read_text()
    )
    assert "backup-secret" not in shell.calls.read_text()
    assert (shell.folder / "neobank.dump").exists()


def test_a_failed_backup_keeps_the_previous_one(dev: Program, shell: Shell) -> None:
    (shell.folder / "neobank.dump").write_text("the previous backup")
    assert shell.paste(dev.outputs["backupCommand"], status=1).returncode == 1
    assert (shell.folder / "neobank.dump").read_text() == "the previous backup"


def test_with_tls_the_commands_verify_the_server_inside_its_own_pod(prod: Program, shell: Shell) -> None:
    server = "host=postgres-service.neotropolis.svc hostaddr=127.0.0.1 sslmode=verify-full"
    server += " sslrootcert=/etc/neobank/tls/ca.crt"
    assert shell.paste(prod.outputs["psqlCommand"]).returncode == 0
    assert shell.paste(prod.outputs["backupCommand"]).returncode == 0
    calls = shell.calls.read_text()
    assert f"psql {server} user=neobank_0 dbname=neobank\n" in calls
    assert f"administration {server} user=neobank_backup dbname=neobank\n" in calls


def test_the_port_forward_command_names_the_service_and_its_port(dev: Program) -> None:
    assert dev.outputs["portForwardCommand"] == (
        "kubectl --namespace=neotropolis-dev port-forward service/neobank-service 8080:80"
    )
    assert dev.find("Service", "neobank-service").inputs["spec"]["ports"][0]["port"] == 80
