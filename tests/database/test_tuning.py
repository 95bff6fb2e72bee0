"""The server starts with the settings for each pod size, and its log and statistics contain no secret."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

import tuning
from tests.database.servers import BINARIES, embedded, end
from tests.database.support import as_role, as_superuser, ask, eventually, password, pod, refusal, session
from tests.infra.program import run_dev
from tools import postgres
from tools.postgres import Postgres

MAJORS = ["16", "17", "18"]
TEXTS = "SELECT query FROM administration.pg_stat_statements"


def install(folder: Path, monkeypatch: pytest.MonkeyPatch, **settings: object) -> dict[str, str]:
    """Write the files of a stack with these settings where the server reads them; return its postgres-config."""
    folder.mkdir(exist_ok=True)
    program = run_dev({"postgres": settings})
    files: dict[str, str] = program.find("ConfigMap", "postgres-config").inputs["data"]
    for name, text in files.items():
        (folder / name).write_text(text, encoding="utf-8")
    monkeypatch.setattr(postgres, "START", folder / "start.sh")
    return files


@pytest.fixture(params=MAJORS)
def server(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Postgres]:
    """A server of each major on an empty volume, not started."""
    made = embedded(tmp_path / "home", request.param)
    yield made
    end(made)


def test_a_server_runs_with_the_settings_for_its_size_also_after_a_resize(
    server: Postgres, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for memory, storage in (("4Gi", "20Gi"), ("512Mi", "1Gi"), ("16Gi", "2Ti")):
        install(tmp_path / "files", monkeypatch, memory=memory, storage=storage)
        server.start()
        for name, value in tuning.by_size(memory, storage).items():
            assert in_bytes(server, show(server, name)) == in_bytes(server, value), name
        server.stop()


def show(server: Postgres, name: str) -> str:
    [(value,)] = ask(as_superuser(server), f"SHOW {name}")
    return str(value)


def in_bytes(server: Postgres, value: str) -> object:
    """Return a size in bytes and a number unchanged, because the server shows 1024MB as 1GB."""
    return ask(as_superuser(server), f"SELECT pg_size_bytes('{value}')")


def test_a_stacks_own_settings_take_effect(server: Postgres, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    own: dict[str, Any] = {"work_mem": "12MB", "random_page_cost": 1.1, "jit": False, "checkpoint_timeout": "7min"}
    install(tmp_path / "files", monkeypatch, settings=own)
    server.start()
    assert {name: show(server, name) for name in own} == {
        "work_mem": "12MB",
        "random_page_cost": "1.1",
        "jit": "off",
        "checkpoint_timeout": "7min",
    }


def test_an_unknown_setting_is_named_before_the_server_starts(
    server: Postgres, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install(tmp_path / "files", monkeypatch, settings={"work_memory": "12MB"})
    prepare = pod(server, "prepare")
    assert prepare.ends() == 1
    assert 'unrecognized configuration parameter "work_memory"' in prepare.stdout.read_text(encoding="utf-8")
    assert "PostgreSQL did not start" in prepare.errors()


def test_connections_ddl_lock_waits_and_slow_statements_are_logged_without_parameters(
    server: Postgres, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    short = {"log_min_duration_statement": "100ms", "deadlock_timeout": "100ms"}
    install(tmp_path / "files", monkeypatch, settings=short)
    server.start()
    ask(as_role(server, "owner"), "CREATE TABLE seen (id bigint PRIMARY KEY)")
    ask(as_role(server, "owner"), "INSERT INTO seen VALUES (1)")
    refusal(as_role(server, "owner"), "INSERT INTO seen SELECT 1 AS mistaken")
    bind(server, "SELECT pg_sleep(0.2), $1 AS slow", "swordfish")
    wait_for_a_lock(server)
    log = ""

    def complete() -> bool:
        nonlocal log
        log = server.log.read_text(encoding="utf-8")
        return "AS slow" in log

    eventually(complete, "the slow statement in the log", lambda: log)
    assert "connection authorized: user=neobank_owner database=neobank" in log
    assert "neobank_owner@neobank LOG:  statement: CREATE TABLE seen" in log
    assert "duplicate key value" in log
    assert "swordfish" not in log
    assert "mistaken" not in log  # the text of a failed statement
    assert "INSERT INTO seen VALUES" not in log  # a statement that is neither slow nor DDL
    for role in postgres.CREDENTIALS:
        assert password(server, role) not in log


def wait_for_a_lock(server: Postgres) -> None:
    """Let one session wait for another until the log reports it."""
    owner = as_role(server, "owner")
    with session(owner) as holder, holder.cursor() as cursor, ThreadPoolExecutor(1) as pool:
        cursor.execute("BEGIN; LOCK TABLE seen")
        waiting = pool.submit(ask, owner, "TABLE seen")
        eventually(lambda: "still waiting for" in server.log.read_text(encoding="utf-8"), "the lock wait in the log")
        cursor.execute("COMMIT")
        assert waiting.result() == [(1,)]


def bind(server: Postgres, statement: str, parameter: str) -> None:
    """Send a bind parameter separately from its statement, which the service's driver does not do."""
    where = as_role(server, "owner")
    login = [f"--{name}={where[key]}" for name, key in (("host", "host"), ("port", "port"), ("username", "user"))]
    subprocess.run(
        [str(BINARIES["18"] / "psql"), *login, "--dbname=neobank", "--no-psqlrc", "--quiet", "--file=-"],
        input=f"{statement} \\bind {parameter} \\g\n",
        env={"PATH": os.environ["PATH"], "PGPASSWORD": where["password"]},
        check=True,
        capture_output=True,
        text=True,
    )


def test_only_the_metrics_role_reads_statement_statistics_without_values(server: Postgres) -> None:
    server.start()
    ask(as_role(server, "application"), "SELECT 'swordfish' AS value, 4711 AS number")
    seen = TEXTS + " WHERE calls = 1 AND query LIKE '%AS value%'"
    assert ask(as_role(server, "metrics"), seen) == [("SELECT $1 AS value, $2 AS number",)]
    texts = str(ask(as_superuser(server), TEXTS))
    assert "PASSWORD" not in texts
    assert "SCRAM" not in texts
    assert "permission denied for schema administration" in refusal(as_role(server, "application"), TEXTS)
    assert set(ask(as_role(server, "backup"), TEXTS + " WHERE query !~ 'query'")) == {("<insufficient privilege>",)}
    for role in ("owner", "metrics"):
        reset = "SELECT administration.pg_stat_statements_reset()"
        assert "permission denied" in refusal(as_role(server, role), reset)
    server.stop()
    server.start()  # a second preparation keeps the extension
    assert ask(as_role(server, "metrics"), TEXTS)


def test_a_server_built_without_pg_stat_statements_runs_without_it(kept: Postgres, tmp_path: Path) -> None:
    complete = BINARIES["18"].parent
    package = complete.parent
    lacking = tmp_path / "lacking" / package.name / complete.name
    shutil.copytree(complete / "bin", lacking / "bin")
    for folder in ("lib", "share"):
        ignored = shutil.ignore_patterns("pg_stat_statements*")
        shutil.copytree(complete / folder, lacking / folder, ignore=ignored, copy_function=os.symlink)
    libraries = f"{package.name}.libs"  # which the programs load from beside their package
    (tmp_path / "lacking" / libraries).symlink_to(package.with_name(libraries))
    kept.binaries = lacking / "bin"
    kept.start()
    assert ask(as_superuser(kept), "SHOW shared_preload_libraries") == [("",)]
    assert ask(as_role(kept, "application"), "SELECT 1") == [(1,)]
