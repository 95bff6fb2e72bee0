"""start.sh turns a volume in any state into a complete database with the program's settings and roles."""

import os
import shutil
import signal
import stat
import subprocess
from pathlib import Path

import pytest

from tests.database.servers import NewServer
from tests.database.support import (
    as_role,
    as_superuser,
    ask,
    catalogue,
    child_of,
    eventually,
    kill_users,
    payments,
    pod,
    refusal,
)
from tools import postgres
from tools.postgres import LOGINS, START, Postgres, as_nobody

INITIALISING = Path(".initialising")
MOMENTS = {
    "PG_VERSION appears": INITIALISING / "PG_VERSION",
    "the last database is copied": INITIALISING / "base" / "5",
    "the directory has its name": Path("18", "PG_VERSION"),
    "the roles' server starts": Path("18", "postmaster.pid"),
}


def assert_complete(server: Postgres) -> None:
    databases = ask(
        as_superuser(server), "SELECT datname, pg_encoding_to_char(encoding), datcollate, datctype FROM pg_database"
    )
    assert sorted(databases) == [(name, "UTF8", "C", "C") for name in ("neobank", "postgres", "template0", "template1")]
    assert ask(as_superuser(server), "SHOW data_checksums") == [("on",)]
    assert ask(as_superuser(server), "SELECT count(*) > 50 FROM information_schema.tables") == [(True,)]
    for role in LOGINS:
        assert ask(as_role(server, role), "SELECT current_user") == [(LOGINS[role],)]
    assert not (server.volume / INITIALISING).exists()


@pytest.mark.parametrize("major", ["17", "18"])
def test_an_empty_volume_becomes_a_database(new_server: NewServer, major: str) -> None:
    server = new_server(major)
    server.start()
    assert_complete(server)
    assert stat.S_IMODE((server.volume / major).stat().st_mode) == 0o700


def test_preparing_again_changes_nothing(running: Postgres) -> None:
    before = catalogue(running)
    running.stop()
    running.start()
    assert catalogue(running) == before
    assert payments(running) == [1]


def test_preparing_reverts_changes_of_roles_and_rights(running: Postgres) -> None:
    before = catalogue(running)
    ask(
        as_superuser(running),
        "CREATE ROLE intruder LOGIN",
        "GRANT neobank TO intruder WITH ADMIN OPTION",
        "SET ROLE intruder",
        "GRANT neobank TO neobank_backup",
        "RESET ROLE",
        "GRANT neobank_owner, pg_read_server_files TO neobank_0",
        "ALTER ROLE neobank LOGIN PASSWORD 'known'",
        "ALTER ROLE neobank_0 SUPERUSER CREATEDB CREATEROLE REPLICATION BYPASSRLS VALID UNTIL '2000-01-01'",
        "ALTER ROLE neobank_backup NOLOGIN NOINHERIT CONNECTION LIMIT 0",
        "ALTER ROLE neobank_0 SET search_path = pg_catalog",
        "ALTER ROLE ALL SET default_transaction_read_only = on",
        "ALTER ROLE neobank_0 IN DATABASE neobank SET lock_timeout = 0",
        "SET default_transaction_read_only = off",
        "ALTER ROLE postgres PASSWORD 'known'",
        "ALTER DATABASE neobank OWNER TO intruder",
        "ALTER SCHEMA public OWNER TO intruder",
        "GRANT ALL ON DATABASE neobank, postgres, template1 TO PUBLIC",
        "GRANT ALL ON SCHEMA public TO PUBLIC",
        "GRANT ALL ON DATABASE neobank TO neobank_0, neobank_backup",
        "GRANT ALL ON SCHEMA public TO neobank, neobank_1 WITH GRANT OPTION",
        "GRANT EXECUTE ON FUNCTION lo_creat TO PUBLIC",
    )
    running.stop()
    running.start()
    after = catalogue(running)
    after["roles"] = [role for role in after["roles"] if role[0] != "intruder"]
    assert after == before
    refused = refusal(as_role(running, "owner", user="intruder"))
    assert "no pg_hba.conf entry" in refused


@pytest.mark.parametrize("mode", [0o2770, 0o770, 0o2750, 0o755])
def test_a_data_directory_with_open_permissions_is_restricted_again(kept: Postgres, mode: int) -> None:
    data = kept.volume / "18"
    data.chmod(mode)
    kept.start()
    assert stat.S_IMODE(data.stat().st_mode) == 0o700
    assert payments(kept) == [1]


def test_settings_of_a_volume_initialised_elsewhere_have_no_effect(new_server: NewServer) -> None:
    server = new_server()
    data = server.volume / "18"
    initdb = [str(server.binaries / "initdb"), "--auth=trust", "--username=postgres", "--locale=C", str(data)]
    subprocess.run([*as_nobody(), *initdb], check=True, capture_output=True)
    (data / "pg_hba.conf").write_text("local all all trust\nhost all all all trust\n")
    for name in ("postgresql.conf", "postgresql.auto.conf"):
        (data / name).write_text("fsync = off\npassword_encryption = md5\nlog_statement = all\nmax_connections = 7\n")
    server.start()
    foreign = "SELECT name, sourcefile FROM pg_settings WHERE sourcefile IS DISTINCT FROM %s AND sourcefile IS NOT NULL"
    ours = START.with_name("postgresql.conf")
    assert ask(as_superuser(server), foreign.replace("%s", f"'{ours}'")) == []
    for user in LOGINS.values():
        assert "no password supplied" in refusal(as_role(server, "owner", user=user, password=""))
    assert "no pg_hba.conf entry" in refusal(as_role(server, "owner", user="postgres"))


@pytest.mark.parametrize("moment", MOMENTS)
def test_a_killed_initialisation_is_repeated(new_server: NewServer, moment: str) -> None:
    server = new_server()
    killed = pod(server, "prepare")
    eventually((server.volume / MOMENTS[moment]).exists, moment, killed.errors)
    killed.process.kill()  # first, so that it cannot end meanwhile; then what it started
    kill_users(server.volume)
    assert killed.ends() != 0, "it ended before it could be killed"
    server.start()
    assert_complete(server)


def test_the_preparation_fails_if_only_initdb_is_killed(new_server: NewServer) -> None:
    server = new_server()
    prepare = pod(server, "prepare")
    eventually((server.volume / INITIALISING).exists, "initdb", prepare.errors)
    initdb = child_of(prepare.process.pid, "initdb")
    assert initdb is not None, "it ended before it could be killed"
    os.kill(initdb, signal.SIGKILL)
    assert prepare.ends() != 0
    assert not (server.volume / "18").exists()
    server.start()
    assert_complete(server)


def test_the_path_of_the_checkout_may_contain_spaces_and_quotes(
    kept: Postgres, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    checkout = tmp_path / "my 'own' checkout"
    shutil.copytree(START.parent, checkout)
    monkeypatch.setattr(postgres, "START", checkout / START.name)
    kept.start()
    assert payments(kept) == [1]
    assert ask(as_superuser(kept), "SHOW config_file") == [(str(checkout / "postgresql.conf"),)]
