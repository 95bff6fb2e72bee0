"""Skip tests whose requirements this machine lacks; with NEOBANK_REQUIRE_CLUSTER set, fail them instead."""

import os
import shutil
from typing import NoReturn

import pytest

NEEDS_ENGINE = pytest.mark.skipif(
    shutil.which("pulumi") is None or os.environ.get("NEOBANK_ENGINE") == "none",
    reason="there is no `pulumi` on PATH, or NEOBANK_ENGINE=none excludes it, and this test needs the engine",
)


def no_cluster(reason: str) -> NoReturn:
    """Skip or fail a test that needs a cluster."""
    if os.environ.get("NEOBANK_REQUIRE_CLUSTER"):
        pytest.fail(reason)
    pytest.skip(reason)


def not_here(reason: str) -> NoReturn:
    """Skip or fail a test that needs something that this machine lacks."""
    no_cluster(reason)


def no_program(program: str, package: str) -> NoReturn:
    """Skip or fail a test that needs a program of a Debian package."""
    not_here(f"{program} is not installed: it is in the Debian package {package}.")
