"""One run of the committed dev stack, for the tests that only look."""

import pytest

from tests.infra.program import Program, run, stack_file


@pytest.fixture(scope="session")
def dev() -> Program:
    return run(stack_file("dev"))
