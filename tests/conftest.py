"""Settings of every test run.

Property tests draw the same examples in each run, so that a failed run can be repeated. A shell without job control
starts background processes with SIGINT ignored. Child processes of the tests would inherit that, unlike processes in a
container, so SIGINT gets its default handler here. A `make` that runs the tests would pass its own flags on to the
`make` that a test starts.
"""

import os
import signal

import pytest
from hypothesis import settings

CLUSTER = "cluster"

settings.register_profile("repeatable", derandomize=True, deadline=None)
settings.load_profile("repeatable")
signal.signal(signal.SIGINT, signal.default_int_handler)
for name in ("MAKEFLAGS", "MAKELEVEL", "MFLAGS"):
    os.environ.pop(name, None)


def pytest_xdist_auto_num_workers() -> int:
    """Return the number of processes that run the tests: a server that the environment names serves only one."""
    return 1 if "NEOBANK_TEST_DATABASE_URL" in os.environ else 2


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Run the tests of one file in one process, and first those of the cluster, together: they share it."""
    for item in items:
        file = item.nodeid.partition("::")[0]
        item.add_marker(pytest.mark.xdist_group(CLUSTER if in_cluster(item) else file))
    items.sort(key=in_cluster, reverse=True)


def in_cluster(item: pytest.Item) -> bool:
    return item.path.parent.name == CLUSTER
