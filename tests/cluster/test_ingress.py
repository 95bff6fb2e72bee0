"""Traefik, as on the event's cluster: it routes HTTP and TLS to the bank, and passes on the client's real address.

It is built once from its Go module, which takes a quarter of an hour on two cores: `make soak` does that, and from then
on `make test` runs these tests, too. It runs as a process of the node, like CoreDNS, not in a pod.
"""

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http import HTTPStatus
from itertools import count
from pathlib import Path
from types import MappingProxyType

import pytest

from tests.cluster.deployment import SMALL, Deployment, standing
from tests.cluster.kubectl import Object
from tests.cluster.marks import NODE_NETWORK
from tests.cluster.visitor import Visit, dumped
from tools.cluster import build, local
from tools.cluster.certificates import Authority
from tools.cluster.paths import CHECKOUT

pytestmark = [
    *([] if build.is_built("traefik") else [pytest.mark.soak]),
    pytest.mark.timeout(3600),
    NODE_NETWORK,
]

HTTP, CLOSED, HTTPS = 8000, 8001, 8443
HOST = "bank.example.org"
CERTIFICATE = "bank-certificate"
INGRESS = {"enabled": True, "className": "traefik", "host": HOST}
ALLOWED = 3
LIMITED = {**SMALL, "rateLimits": f"registrations={ALLOWED}/day"}
NAMES = (f"Visitor {number}" for number in count())


@pytest.fixture(scope="module")
def bank(cluster: Path, service_image: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployment]:
    """A bank that answers through Traefik."""
    bank = Deployment("neobank-ingress", service_image, cluster, tmp_path_factory.mktemp("ingress"))
    bank.kubectl.apply(CLASS, manager="tests")
    with traefik(bank), standing(bank, application=LIMITED, ingress=INGRESS):
        bank.until(lambda: health() == 200, "an answer of the bank through Traefik")
        yield bank
    bank.kubectl.delete("ingressclass", "", "traefik")


CLASS: Object = {
    "apiVersion": "networking.k8s.io/v1",
    "kind": "IngressClass",
    "metadata": {"name": "traefik"},
    "spec": {"controller": "traefik.io/ingress-controller"},
}


@contextmanager
def traefik(bank: Deployment) -> Iterator[None]:
    """Run Traefik in the node's network."""
    options = [
        f"--entrypoints.web.address=127.0.0.1:{HTTP}",
        f"--entrypoints.closed.address=127.0.0.1:{CLOSED}",
        "--entrypoints.closed.http.redirections.entrypoint.to=websecure",
        f"--entrypoints.websecure.address=127.0.0.1:{HTTPS}",
        "--entrypoints.websecure.http.tls=true",
        f"--providers.kubernetesingress.namespaces={bank.namespace}",
        "--global.checknewversion=false",
        "--global.sendanonymoususage=false",
    ]
    command = [*local.network_prefix(), str(build.programs_of("traefik")["traefik"]), *options]
    process = subprocess.Popen(command, env={**os.environ, "KUBECONFIG": str(bank.kubeconfig)})
    try:
        yield
    finally:
        process.terminate()
        process.wait()


def answers(*visits: Visit) -> list[int]:
    """Make visits from inside the node's network and return the statuses; [0] if a connection fails."""
    command = [*local.network_prefix(), sys.executable, "-m", "tests.cluster.visitor"]
    done = subprocess.run(
        command, cwd=CHECKOUT, input=dumped([*visits]), capture_output=True, text=True, check=False, timeout=120
    )
    found: list[int] = json.loads(done.stdout) if done.returncode == 0 else [0]
    return found


def health(*, host: str = HOST, port: int = HTTP, authority: str = "") -> int:
    return answers(Visit(host=host, path="/health", port=port, authority=authority))[0]


def join(
    source: str, headers: Mapping[str, str] = MappingProxyType({}), port: int = HTTP, authority: str = ""
) -> Visit:
    """Return a request that registers a new player from a source address."""
    return Visit(
        host=HOST,
        path="/api/v1/auth/register",
        body={"character_name": next(NAMES), "password": "a password of a visitor"},
        source=source,
        headers=dict(headers),
        port=port,
        authority=authority,
    )


def test_only_the_configured_host_leads_to_the_bank(bank: Deployment) -> None:
    del bank
    assert health() == 200
    assert health(host="casino.example.org") == 404


def test_each_source_address_has_its_own_rate_limit(bank: Deployment) -> None:
    del bank
    assert answers(*(join("127.0.0.2") for _ in range(ALLOWED + 2))) == [201] * ALLOWED + [429] * 2
    assert answers(join("127.0.0.3"), join("127.0.0.2")) == [201, 429]


@pytest.mark.parametrize("header", ["X-Forwarded-For", "X-Real-Ip", "Forwarded"])
def test_a_forged_address_header_has_no_effect_on_rate_limits(bank: Deployment, header: str) -> None:
    """Requests with forged addresses count for their real source, and do not use up the limit of the forged address."""
    del bank
    source = f"127.0.1.{['X-Forwarded-For', 'X-Real-Ip', 'Forwarded'].index(header) + 1}"
    victim = source.replace("127.0.1", "127.0.2")
    form = "for={}" if header == "Forwarded" else "{}"
    forged = [join(source, {header: form.format(f"10.9.8.{number}")}) for number in range(ALLOWED + 2)]
    assert answers(*forged) == [201] * ALLOWED + [429] * 2
    blamed = [join(source, {header: form.format(victim)}) for _ in range(ALLOWED)]
    assert answers(*blamed, join(victim)) == [429] * ALLOWED + [201]


def test_traefik_serves_tls_with_the_certificate_of_a_secret(bank: Deployment) -> None:
    """An Ingress does not disable plain HTTP: Traefik's own option does, which docs/production.md requires."""
    authority = Authority()
    identity = authority.issue(HOST, hosts=(HOST,))
    secret = {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": CERTIFICATE, "namespace": bank.namespace},
        "type": "kubernetes.io/tls",
        "stringData": {"tls.crt": identity.certificate.decode(), "tls.key": identity.key.decode()},
    }
    bank.kubectl.apply(secret, manager="tests")
    bank.apply(ingress={**INGRESS, "tlsSecret": CERTIFICATE})
    trusted = authority.certificate.decode()
    bank.until(lambda: health(port=HTTPS, authority=trusted) == 200, "Traefik to use the certificate")
    assert health(port=HTTPS, authority=Authority().certificate.decode()) == 0
    clear, encrypted = (join("127.0.0.4") for _ in range(ALLOWED)), join("127.0.0.4", port=HTTPS, authority=trusted)
    assert answers(*clear, encrypted) == [201] * ALLOWED + [429]
    assert health(port=CLOSED) == HTTPStatus.MOVED_PERMANENTLY
