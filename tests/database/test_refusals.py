"""start.sh rejects what it cannot serve, with one sentence, and changes nothing."""

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.database.servers import NewServer, embedded, end
from tests.database.support import assert_refused, assert_untouched, pod
from tools.postgres import ROLES, Postgres

RUNBOOK = "docs/postgresql-upgrade.md"


def in_a_deeper_folder(volume: Path) -> None:
    (volume / "18").rename(volume / "docker")
    (volume / "16").mkdir()
    (volume / "docker").rename(volume / "16" / "docker")
    (volume / "16" / "docker" / "PG_VERSION").write_text("16\n")


def at_the_root(volume: Path) -> None:
    for entry in (volume / "18").iterdir():
        entry.rename(volume / entry.name)
    (volume / "18").rmdir()


@pytest.fixture(scope="session")
def seed_17(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A volume that PostgreSQL 17 initialised."""
    server = embedded(tmp_path_factory.mktemp("seed 17"), "17")
    try:
        assert pod(server, "prepare").ends() == 0
        yield server.volume
    finally:
        end(server)


@pytest.fixture
def older(new_server: NewServer, seed_17: Path) -> Postgres:
    server = new_server()
    shutil.copytree(seed_17, server.volume, dirs_exist_ok=True)
    return server


def test_data_of_another_major_without_own_data_is_rejected(older: Postgres) -> None:
    assert_untouched(older, "17", "none of PostgreSQL 18", RUNBOOK)


def test_data_of_another_major_in_the_own_folder_is_rejected(older: Postgres) -> None:
    (older.volume / "17").rename(older.volume / "18")
    assert_untouched(older, "PostgreSQL 17", "this image is PostgreSQL 18", RUNBOOK)


def test_a_data_directory_for_another_major_than_the_images_is_rejected(new_server: NewServer) -> None:
    server = new_server()
    (server.volume / ".lock").touch()
    folder = str(server.volume / "17")
    assert_untouched(server, folder, "this image is PostgreSQL 18", "postgres.image", PGDATA=folder)


@pytest.mark.parametrize("move", [in_a_deeper_folder, at_the_root])
def test_data_elsewhere_on_the_volume_is_rejected(kept: Postgres, move: Callable[[Path], None]) -> None:
    move(kept.volume)
    assert_untouched(kept, RUNBOOK)


def test_a_data_directory_without_a_database_is_rejected(new_server: NewServer) -> None:
    server = new_server()
    (server.volume / ".lock").touch()
    (server.volume / "18").mkdir()
    (server.volume / "18" / "notes.txt").write_text("mine")
    assert_untouched(server, "not a database")


def test_serving_before_the_preparation_is_rejected(new_server: NewServer) -> None:
    server = new_server()
    assert_refused(pod(server, "serve"), "not a database", "prepare")
    assert [path.name for path in server.volume.iterdir()] == [".lock"]


@pytest.mark.parametrize("role", ROLES)
@pytest.mark.parametrize("content", [None, "", "\n"], ids=["missing", "empty", "blank"])
def test_a_missing_or_empty_password_file_is_rejected(new_server: NewServer, role: str, content: str | None) -> None:
    server = new_server()
    file = server.credentials / role
    file.unlink()
    if content is not None:
        file.write_text(content, encoding="utf-8")
    assert_refused(pod(server, "prepare"), str(file))
    assert list(server.volume.iterdir()) == []


def test_a_volume_that_is_not_writable_is_rejected(new_server: NewServer) -> None:
    server = new_server()
    server.volume.chmod(0o555)
    assert_untouched(server, str(server.volume), "not writable")


def test_a_missing_volume_is_rejected(new_server: NewServer) -> None:
    server = new_server()
    server.volume.rmdir()
    assert_refused(pod(server, "prepare"), str(server.volume), "not writable")


def test_an_unknown_command_is_rejected(new_server: NewServer) -> None:
    assert_refused(pod(new_server(), "restart"), "prepare", "serve")
