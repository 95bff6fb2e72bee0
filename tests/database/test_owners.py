"""Data of another UID is rejected, readable or not: no empty database is created beside an existing one.

A user namespace maps every foreign UID to nobody, so these tests need root and two real UIDs.
"""

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.database.support import assert_untouched
from tools.postgres import Postgres

ALPINE, DEBIAN, GROUP = 70, 999, 1234
AS_DEBIAN = ["setpriv", f"--reuid={DEBIAN}", f"--regid={GROUP}", "--clear-groups", "--"]


@pytest.fixture
def alpine(kept: Postgres) -> Iterator[Postgres]:
    """A volume as a pod with the alpine image leaves it, with the platform's group; the tests use debian's UID."""
    if os.getuid() != 0:
        pytest.skip("only root can give data to another UID")
    if subprocess.run([*AS_DEBIAN, str(kept.binaries / "postgres"), "--version"], check=False).returncode != 0:
        pytest.skip("other users cannot read the checkout")
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        shutil.move(kept.volume, folder)
        shutil.copytree(kept.credentials, Path(folder, "credentials"))
        kept.volume, kept.credentials = Path(folder, "volume"), Path(folder, "credentials")
        for path in [*kept.volume.rglob("*"), *kept.credentials.rglob("*"), kept.credentials]:
            os.chown(path, ALPINE, GROUP)
        for path in (kept.volume, kept.credentials, *kept.credentials.iterdir()):
            os.chown(path, 0, GROUP)
            path.chmod(0o2775)
        (kept.volume / ".lock").chmod(0o664)
        yield kept


def assert_refuses_debian(server: Postgres, *words: str) -> None:
    assert_untouched(server, str(DEBIAN), "docs/postgresql-upgrade.md", *words, identity=AS_DEBIAN)


def test_data_of_another_user_is_rejected(alpine: Postgres) -> None:
    (alpine.volume / "18").chmod(0o2770)
    (alpine.volume / ".lock").unlink()
    os.close(os.open(alpine.volume / ".lock", os.O_CREAT, 0o600))
    os.chown(alpine.volume / ".lock", DEBIAN, GROUP)
    assert_refuses_debian(alpine, str(ALPINE), "18")


@pytest.mark.parametrize("major", ["17", "18"])
def test_an_unreadable_directory_of_another_user_is_rejected(alpine: Postgres, major: str) -> None:
    if major != "18":
        (alpine.volume / "18").rename(alpine.volume / major)
    os.chown(alpine.volume / ".lock", DEBIAN, GROUP)
    assert_refuses_debian(alpine, str(ALPINE), major)


def test_a_lock_of_another_user_is_rejected(alpine: Postgres) -> None:
    shutil.rmtree(alpine.volume / "18")
    assert_refuses_debian(alpine, str(ALPINE), ".lock")
