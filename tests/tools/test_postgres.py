"""The embedded PostgreSQL on a machine that cannot run it."""

import os
from pathlib import Path

import pytest

from tests.scripts import write_script
from tools.postgres import PostgresError, as_nobody


def test_root_without_user_namespaces_gets_an_error_with_the_alternative(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_script(tmp_path, "unshare", "#!/bin/sh\nexit 1\n")
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(os, "getuid", lambda: 0)
    with pytest.raises(PostgresError, match="run this as an ordinary user"):
        as_nobody()


def test_an_ordinary_user_needs_no_user_namespace(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "getuid", lambda: 1000)
    assert as_nobody() == []
