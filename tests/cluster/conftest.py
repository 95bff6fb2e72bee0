"""A real cluster and the bank that the program deploys to it. Without a cluster these tests are skipped by name."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.absence import no_cluster
from tests.cluster.deployment import Deployment, Measure, standing
from tools import image
from tools.cluster import local
from tools.cluster.paths import KUBECONFIG


@pytest.fixture
def measured(request: pytest.FixtureRequest) -> Measure:
    """Return a function that records a measurement; all of them are printed at the end of the run."""
    return lambda what, value: request.node.user_properties.append((what, str(value)))


@pytest.fixture(scope="session")
def cluster() -> Path:
    """Return the kubeconfig of the local cluster."""
    if not local.is_up():
        no_cluster("no local cluster is up: run `make cluster` first")
    return KUBECONFIG


@pytest.fixture(scope="session")
def service_image(cluster: Path) -> str:
    """Build the service's image, load it into the cluster, and return its reference."""
    del cluster
    return image.deliver()


@pytest.fixture(scope="session")
def deployed(cluster: Path, service_image: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployment]:
    """The bank in its own namespace; each test leaves it serving."""
    bank = Deployment("neobank-test", service_image, cluster, tmp_path_factory.mktemp("deployment"))
    with standing(bank):
        yield bank
