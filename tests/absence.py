"""What a machine lacks is a reason to skip a test, by name; where the cluster is demanded, it is a failure."""

import os
from typing import NoReturn

import pytest


def no_cluster(reason: str) -> NoReturn:
    """End a test that needs a cluster."""
    if os.environ.get("NEOBANK_REQUIRE_CLUSTER"):
        pytest.fail(reason)
    pytest.skip(reason)


def not_here(reason: str) -> NoReturn:
    """End a test that needs something that this machine lacks; where everything is demanded, that is a failure."""
    no_cluster(reason)


def no_program(program: str, package: str) -> NoReturn:
    """End a test that needs a program of a Debian package; a machine that has to run everything has installed it."""
    not_here(f"{program} is not installed: it is in the Debian package {package}.")
