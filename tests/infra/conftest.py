"""One run of each committed stack, for the tests that only look."""

import pytest

from tests.infra.program import DIGEST_IMAGE, PROD, Program, run, stack_file


@pytest.fixture(scope="session")
def dev() -> Program:
    return run(stack_file("dev"))


@pytest.fixture(scope="session")
def prod() -> Program:
    return run(PROD, stack="prod", image=DIGEST_IMAGE)
