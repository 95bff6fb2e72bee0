"""With the program's certificate, PostgreSQL requires TLS, and its clients reject any other server."""

import socket
import ssl
import struct
from collections.abc import Iterator
from pathlib import Path

import psycopg2
import pytest

from tests.database.servers import Encrypted, RealCertificates, end
from tests.database.support import Pod, Where, as_role, as_superuser, ask, pod, refusal
from tests.infra.program import Recorder, run_prod
from tools.postgres import LOGINS, Postgres

SERVICE = "postgres-service"
HOSTS = [SERVICE, *(f"{SERVICE}.neotropolis{end}" for end in ("", ".svc", ".svc.cluster.local"))]
SSL_REQUEST = struct.pack("!ii", 8, 80877103)


def files(providers: RealCertificates, number: int = 1) -> dict[str, str]:
    """Return the entries of the server's Secret at a rotation number."""
    program = run_prod({"rotation": {"tls": {"number": number}}}, Recorder(providers))
    entries: dict[str, str] = program.find("Secret", "postgres-tls").inputs["stringData"]
    return entries


def verifying(server: Encrypted, role: str, **changes: str) -> Where:
    """Return the parameters with which the program's clients log in, with changes."""
    parameters = {"host": f"{SERVICE}.neotropolis.svc", "hostaddr": "127.0.0.1", "sslmode": "verify-full"}
    return as_role(server, role, **parameters | {"sslrootcert": str(server.tls / "ca.crt")} | changes)


def served(server: Encrypted) -> str:
    """Return the server's certificate, once it is verified."""
    context = ssl.create_default_context(cafile=str(server.tls / "ca.crt"))
    with socket.create_connection(("127.0.0.1", server.port), timeout=30) as connection:
        connection.sendall(SSL_REQUEST)
        assert connection.recv(1) == b"S"
        with context.wrap_socket(connection, server_hostname=SERVICE) as encrypted:
            shown = encrypted.getpeercert(binary_form=True)
    assert shown is not None
    return ssl.DER_cert_to_PEM_cert(shown)


@pytest.fixture(scope="module")
def providers() -> RealCertificates:
    return RealCertificates()


@pytest.fixture(scope="module", params=["16", "17"])
def encrypted(
    providers: RealCertificates, tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest
) -> Iterator[Encrypted]:
    """A running server of each major whose binaries support TLS."""
    home = tmp_path_factory.mktemp("encrypted")
    server = Encrypted.of_major(home, request.param)
    server.install(files(providers))
    try:
        server.start()
        yield server
    finally:
        end(server)


@pytest.fixture
def stopped(providers: RealCertificates, tmp_path: Path) -> Iterator[Encrypted]:
    """A server on an empty volume with its certificate files, not started."""
    server = Encrypted.of_major(tmp_path, "17")
    server.install(files(providers))
    yield server
    end(server)


@pytest.mark.parametrize("host", HOSTS)
def test_a_verifying_client_can_log_in_by_each_host_name(encrypted: Encrypted, host: str) -> None:
    [found] = ask(
        verifying(encrypted, "application", host=host),
        "SELECT ssl, version FROM pg_stat_ssl WHERE pid = pg_backend_pid()",
    )
    assert found == (True, "TLSv1.3")


@pytest.mark.parametrize("role", LOGINS)
def test_no_role_can_log_in_without_tls(encrypted: Encrypted, role: str) -> None:
    assert ask(verifying(encrypted, role), "SELECT 1") == [(1,)]
    refused = refusal(as_role(encrypted, role, sslmode="disable"))
    assert "no pg_hba.conf entry" in refused
    assert "no encryption" in refused


def test_the_superuser_can_log_in_only_over_the_socket(encrypted: Encrypted) -> None:
    rules = "SELECT DISTINCT type, auth_method FROM pg_hba_file_rules ORDER BY 1"
    assert ask(as_superuser(encrypted), rules) == [("hostssl", "scram-sha-256"), ("local", "peer")]
    assert "no pg_hba.conf entry" in refusal(verifying(encrypted, "owner", user="postgres"))


def test_a_client_rejects_a_server_of_another_authority(encrypted: Encrypted, tmp_path: Path) -> None:
    another = tmp_path / "ca.crt"
    another.write_text(files(RealCertificates())["ca.crt"], encoding="utf-8")
    with pytest.raises(psycopg2.OperationalError, match="certificate verify failed"):
        ask(verifying(encrypted, "application", sslrootcert=str(another)), "SELECT 1")


@pytest.mark.parametrize("host", ["elsewhere.neotropolis.svc", f"{SERVICE}.neotropolis-dev.svc", "127.0.0.1"])
def test_a_client_rejects_a_server_of_another_name(encrypted: Encrypted, host: str) -> None:
    with pytest.raises(psycopg2.OperationalError, match=r"server certificate for .* does not match host name"):
        ask(verifying(encrypted, "application", host=host), "SELECT 1")


def failed_preparation(server: Encrypted) -> Pod:
    run_once = pod(server, "prepare")
    assert run_once.ends() == 1
    return run_once


@pytest.mark.parametrize("file", ["tls.crt", "tls.key", "ca.crt"])
@pytest.mark.parametrize("content", [None, ""])
def test_a_missing_or_empty_file_is_named(stopped: Encrypted, file: str, content: str | None) -> None:
    (stopped.tls / file).unlink()
    if content is not None:
        (stopped.tls / file).write_text(content, encoding="utf-8")
    [message] = failed_preparation(stopped).errors().splitlines()
    assert str(stopped.tls / file) in message
    assert "missing" in message
    assert list(stopped.volume.iterdir()) == []


def test_a_key_that_others_can_read_is_rejected_with_postgresqls_error(stopped: Encrypted) -> None:
    (stopped.tls / "tls.key").chmod(0o644)
    assert 'tls.key" has group or world access' in failed_preparation(stopped).output()


def test_a_key_of_another_certificate_is_rejected_with_postgresqls_error(stopped: Encrypted) -> None:
    stopped.install({"tls.key": files(RealCertificates())["tls.key"]})
    assert "key values mismatch" in failed_preparation(stopped).output()


def test_a_server_built_without_tls_is_rejected_with_postgresqls_error(
    providers: RealCertificates, tmp_path: Path
) -> None:
    server = Encrypted.of_major(tmp_path, "18")
    server.install(files(providers))
    assert "SSL is not supported by this build" in failed_preparation(server).output()


def test_a_renewed_certificate_is_used_after_a_restart_and_clients_still_connect(
    stopped: Encrypted, providers: RealCertificates
) -> None:
    first, second = files(providers), files(providers, number=2)
    assert first["ca.crt"] == second["ca.crt"]
    assert first["tls.key"] != second["tls.key"]
    stopped.start()
    assert served(stopped) == first["tls.crt"]
    stopped.install({name: second[name] for name in ("tls.crt", "tls.key")})  # the clients keep ca.crt
    stopped.stop()
    stopped.start()
    assert served(stopped) == second["tls.crt"]
    assert ask(verifying(stopped, "application"), "SELECT 1") == [(1,)]


def test_tls_can_be_switched_off_again(stopped: Encrypted) -> None:
    stopped.start()
    stopped.stop()
    unencrypted = Postgres(stopped.volume, stopped.credentials, stopped.port, stopped.binaries, stopped.log)
    unencrypted.start()
    try:
        assert ask(as_role(unencrypted, "application", sslmode="disable"), "SELECT 1") == [(1,)]
    finally:
        unencrypted.stop()
