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
from xdist.remote import Producer
from xdist.scheduler import LoadScopeScheduling

CLUSTER = "tests/cluster/"

settings.register_profile("repeatable", derandomize=True, deadline=None)
settings.load_profile("repeatable")
signal.signal(signal.SIGINT, signal.default_int_handler)
for name in ("MAKEFLAGS", "MAKELEVEL", "MFLAGS"):
    os.environ.pop(name, None)


def pytest_xdist_auto_num_workers() -> int:
    """Return the number of processes that run the tests: a server that the environment names serves only one."""
    return 1 if "NEOBANK_TEST_DATABASE_URL" in os.environ else 2


def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> LoadScopeScheduling:
    """Run the tests of a file in one process, and all tests of the cluster, which they share, in one."""
    return FilesTogether(config, log)


class FilesTogether(LoadScopeScheduling):  # type: ignore[misc]  # xdist has no types
    """xdist's scheduler by scope, whose scopes are the files, and the folder of the cluster's tests."""

    def _split_scope(self, nodeid: str) -> str:
        return CLUSTER if nodeid.startswith(CLUSTER) else nodeid.partition("::")[0]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Run the tests of the cluster first, since they take longest, and in the order of their files.

    They share banks whose start takes a minute, and which a test may change for good. All others run in random order.
    """
    items.sort(key=lambda item: (0, *item.location[:2]) if item.nodeid.startswith(CLUSTER) else (1,))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print what tests measured; it reaches the process that prints as properties of their reports."""
    reports = [report for reports in terminalreporter.stats.values() for report in reports]
    calls = [it for it in reports if isinstance(it, pytest.TestReport) and it.when == "call"]
    if lines := [f"{what}: {value}" for it in calls for what, value in it.user_properties]:
        terminalreporter.section("measured")
        terminalreporter.write_line("\n".join(lines))
