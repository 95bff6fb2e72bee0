"""One run of each committed stack, for the tests that only read the result."""

import pytest

from tests.infra.program import Program, run_dev, run_prod


@pytest.fixture(scope="session")
def dev() -> Program:
    return run_dev()


@pytest.fixture(scope="session")
def prod() -> Program:
    return run_prod()
