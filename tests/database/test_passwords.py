"""The current passwords apply to any volume, and no password can be read except in its file."""

import shutil
from pathlib import Path

import pytest

from tests.database.support import as_role, as_superuser, ask, password, payments, pod, processes, refusal, users_of
from tools import postgres
from tools.postgres import LOGINS, ROLES, START, Postgres, write_credentials

AWKWARD = """it's "quoted" $(id) `id` \\ %s :owner_password ;-- ¤"""


def passwords(server: Postgres) -> dict[str, str]:
    return {role: password(server, role) for role in ROLES}


@pytest.mark.parametrize("rotated", [("application",), ROLES], ids=["one", "all"])
def test_new_passwords_replace_the_old_ones_and_keep_the_data(kept: Postgres, rotated: tuple[str, ...]) -> None:
    old = passwords(kept)
    for role in rotated:
        (kept.credentials / role).unlink()
    write_credentials(kept.credentials)
    kept.start()
    for role in ROLES:
        assert ask(as_role(kept, role), "SELECT current_user") == [(LOGINS[role],)]
        if role in rotated:
            assert "password authentication failed" in refusal(as_role(kept, role, password=old[role]))
    assert payments(kept) == [1]


def test_a_password_may_contain_any_character(kept: Postgres) -> None:
    (kept.credentials / "owner").write_text(AWKWARD, encoding="utf-8")
    kept.start()
    assert ask(as_role(kept, "owner"), "SELECT current_user") == [("neobank_owner",)]
    assert payments(kept) == [1]


def command_lines() -> bytes:
    return b"\n".join(command_line(pid) for pid in processes())


def command_line(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""


def assert_no_password(server: Postgres, where: str, text: bytes) -> None:
    for role, kept in passwords(server).items():
        assert kept.encode() not in text, f"{where} contains the password of {role}"


def test_no_password_reaches_a_log_a_command_line_or_the_volume(running: Postgres) -> None:
    loud = ("log_statement = 'all'", "log_min_duration_statement = 0", "log_min_error_statement = 'debug5'")
    for setting in (*loud, "debug_print_parse = on", "log_min_messages = 'debug5'"):
        ask(as_superuser(running), f"ALTER SYSTEM SET {setting}")
        ask(as_superuser(running), f"ALTER ROLE ALL SET {setting}")
        ask(as_superuser(running), f"ALTER ROLE postgres IN DATABASE neobank SET {setting}")
    running.stop()
    prepare = pod(running, "prepare")
    seen = 0
    while prepare.process.poll() is None:
        assert_no_password(running, "a command line", command_lines())
        seen += len(users_of(running.volume)) > 1
    assert prepare.ends() == 0, prepare.errors()
    assert seen > 0
    for file in [prepare.stdout, prepare.stderr, *running.volume.rglob("*")]:
        if file.is_file():
            assert_no_password(running, str(file), file.read_bytes())


@pytest.mark.parametrize(
    "failing",
    [
        "ALTER ROLE no_such_role PASSWORD :'owner_password';",
        "ALTER ROLE neobank_owner PASSWORD :'owner_password' OOPS;",
    ],
    ids=["refused", "misspelt"],
)
def test_a_failing_statement_stops_the_preparation_and_prints_no_password(
    kept: Postgres, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failing: str
) -> None:
    files = tmp_path / "database"
    shutil.copytree(START.parent, files)
    with (files / "roles.sql").open("a", encoding="utf-8") as roles:
        roles.write(failing)
    monkeypatch.setattr(postgres, "START", files / START.name)
    prepare = pod(kept, "prepare")
    assert prepare.ends() != 0
    assert "ERROR" in prepare.errors()
    assert len(prepare.errors().splitlines()) == 1
    assert_no_password(kept, "stderr", prepare.stderr.read_bytes())
    assert_no_password(kept, "stdout", prepare.stdout.read_bytes())
    assert users_of(kept.volume) == set()
