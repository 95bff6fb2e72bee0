"""PgBouncer with the program's own files in front of a real server: both logins, TLS on both sides, few connections."""

import socket
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psycopg2
import pytest

from tests import pooling
from tests.absence import not_here
from tests.database.servers import Encrypted, RealCertificates, embedded, end
from tests.database.support import Where, as_superuser, ask, eventually, password, refusal, session
from tests.infra.program import DIGEST_IMAGE, Config, Program, Recorder, merged, run_prod
from tools.postgres import Postgres, free_port

NAMESPACE = "neotropolis.svc"
HOSTS = f"127.0.0.1 localhost postgres-service.{NAMESPACE} pgbouncer-service.{NAMESPACE}\n"
IN_NAMESPACES = ["unshare", "--user", "--map-root-user", "--mount", "--", "sh", "-c"]
WITH_HOSTS = 'mount --bind "$0" /etc/hosts && exec "$@"'
CONNECTIONS = 3
POOLED = {
    "pgbouncer": {"enabled": True, "image": DIGEST_IMAGE, "connections": CONNECTIONS},
    "rotation": {"application": {"number": 2}},
}


@dataclass(frozen=True)
class Pooler:
    """A running PgBouncer, with the folder of its certificate and the server behind it."""

    port: int
    tls: Path
    server: Postgres
    log: Path

    def login(self, user: str, file: str, **changes: str) -> Where:
        """Return the parameters with which the application logs in, with changes."""
        where = {"host": f"pgbouncer-service.{NAMESPACE}", "hostaddr": "127.0.0.1", "port": str(self.port)}
        where |= {"user": user, "password": password(self.server, file), "dbname": "neobank"}
        return where | {"sslmode": "verify-full", "sslrootcert": str(self.tls / "ca.crt")} | changes


def registered(providers: RealCertificates, changes: Config) -> Program:
    return run_prod(merged(POOLED, changes), Recorder(providers))


def entries(program: Program, secret: str) -> dict[str, str]:
    found: dict[str, str] = program.find("Secret", secret).inputs["stringData"]
    return found


@contextmanager
def pgbouncer(folder: Path, program: Program, server: Postgres, **other: str) -> Iterator[Pooler]:
    """Run PgBouncer with a program's files, adapted to this machine; `other` replaces files of its certificate."""
    port, tls, hosts = free_port(), folder / pooling.TLS, folder / "hosts"
    tls.mkdir()
    if isinstance(server, Encrypted):
        for name, text in entries(program, "pgbouncer-tls").items():
            (tls / name).write_text(other.get(name, text), encoding="utf-8")
    hosts.write_text(HOSTS, encoding="utf-8")
    (folder / pooling.USERS).write_text(entries(program, "pgbouncer-secret")[pooling.USERS], encoding="utf-8")
    configuration = pooling.write_configuration(program, folder, port, server.port)
    pod = dict(program.pods())["pgbouncer-deployment"]["spec"]
    uid, words = int(pod["securityContext"]["runAsUser"]), pod["containers"][0]["command"]
    assert words == ["pgbouncer", "/etc/neobank/pgbouncer/pgbouncer.ini"]
    as_user = ["unshare", "--user", f"--map-user={uid}", f"--map-group={uid}", "--"]  # without an entry in /etc/passwd
    command = [*IN_NAMESPACES, WITH_HOSTS, str(hosts), *as_user, pooling.executable(), str(configuration)]
    log = folder / "pgbouncer.log"
    with log.open("wb") as output:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=output, stderr=output)
    try:
        eventually(
            lambda: listens(process, port, log), "an answer of PgBouncer", lambda: log.read_text(encoding="utf-8")
        )
        yield Pooler(port, tls, server, log)
    finally:
        process.terminate()
        process.wait(timeout=30)


def listens(process: subprocess.Popen[bytes], port: int, log: Path) -> bool:
    assert process.poll() is None, log.read_text(encoding="utf-8")
    try:
        socket.create_connection(("127.0.0.1", port), timeout=5).close()
    except OSError:
        return False
    return True


@pytest.fixture(scope="module")
def providers() -> RealCertificates:
    return RealCertificates()


@pytest.fixture(scope="module")
def program(providers: RealCertificates) -> Program:
    return registered(providers, {})


@contextmanager
def started(server: Postgres, program: Program) -> Iterator[None]:
    """Start a server with a program's passwords and, if the server is Encrypted, its certificate."""
    if subprocess.run([*IN_NAMESPACES, "true"], check=False, capture_output=True).returncode != 0:
        not_here("this machine forbids user namespaces, which resolve the services' names to it")
    for name, text in entries(program, "postgres-secret").items():
        (server.credentials / name).write_text(text, encoding="utf-8")
    if isinstance(server, Encrypted):
        server.install(entries(program, "postgres-tls"))
    try:
        server.start()
        yield
    finally:
        end(server)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, program: Program) -> Iterator[Encrypted]:
    server = Encrypted.of_major(tmp_path_factory.mktemp("server"), "17")
    with started(server, program):
        yield server


@pytest.fixture(scope="module")
def pooler(tmp_path_factory: pytest.TempPathFactory, program: Program, server: Encrypted) -> Iterator[Pooler]:
    with pgbouncer(tmp_path_factory.mktemp("pooler"), program, server) as running:
        yield running


@pytest.mark.parametrize(("user", "file"), [("neobank_1", "application"), ("neobank_0", "application_previous")])
def test_both_logins_connect_with_tls_on_both_sides(pooler: Pooler, user: str, file: str) -> None:
    login = pooler.login(user, file)
    behind = "SELECT current_user::text, ssl, version FROM pg_stat_ssl WHERE pid = pg_backend_pid()"
    assert ask(login, behind) == [(user, True, "TLSv1.3")]
    with session(login) as connection:
        assert connection.info.ssl_attribute("protocol") == "TLSv1.3"


def test_the_roles_limits_apply_behind_pgbouncer(pooler: Pooler) -> None:
    assert ask(pooler.login("neobank_1", "application"), "SHOW statement_timeout") == [("10s",)]


@pytest.mark.parametrize("user", ["neobank_owner", "neobank_backup", "postgres", "neobank"])
def test_no_other_user_can_connect(pooler: Pooler, user: str) -> None:
    refused = refusal(pooler.login(user, "owner"))
    assert "no such user" in refused or "authentication failed" in refused


def test_a_wrong_password_another_database_and_the_console_are_rejected(pooler: Pooler) -> None:
    login = pooler.login("neobank_1", "application")
    assert "authentication failed" in refusal({**login, "password": "wrong"})
    assert "no such database" in refusal({**login, "dbname": "postgres"})
    assert "not allowed" in refusal({**login, "dbname": "pgbouncer"}, "SHOW CONFIG")


def test_a_client_must_use_tls_and_verifies_pgbouncer(pooler: Pooler) -> None:
    login = pooler.login("neobank_1", "application")
    assert "SSL required" in refusal({**login, "sslmode": "disable"})
    assert "does not match host name" in refusal({**login, "host": f"postgres-service.{NAMESPACE}"})


def test_pgbouncer_rejects_a_server_of_another_authority(tmp_path: Path, program: Program, server: Encrypted) -> None:
    stranger = entries(registered(RealCertificates(), {}), "pgbouncer-tls")["ca.crt"]
    with pgbouncer(tmp_path, program, server, **{"ca.crt": stranger}) as other:
        own = str(server.tls / "ca.crt")
        with pytest.raises(psycopg2.OperationalError):  # which the service answers with 503
            ask(other.login("neobank_1", "application", sslrootcert=own), "SELECT 1")
        assert "certificate verify failed" in other.log.read_text(encoding="utf-8")


def test_many_clients_of_both_logins_share_few_connections(pooler: Pooler) -> None:
    logins = [("neobank_1", "application"), ("neobank_0", "application_previous")] * 8
    clients = [pooler.login(*login) for login in logins]
    held = "SELECT count(*) FROM pg_stat_activity WHERE usename ~ '^neobank_[01]$'"
    with ThreadPoolExecutor(len(clients)) as pool:
        answers = [pool.submit(ask, client, *["SELECT pg_sleep(0.02), 1"] * 20) for client in clients]
        most = 0
        while not all(it.done() for it in answers):
            most = max(most, int(str(ask(as_superuser(pooler.server), held)[0][0])))
    assert {it.result()[-1][1] for it in answers} == {1}
    assert 1 <= most <= CONNECTIONS


def test_pgbouncer_works_without_tls(tmp_path: Path, providers: RealCertificates) -> None:
    unencrypted = registered(providers, {"production": False, "postgres": {"tls": False}})
    server = embedded(tmp_path / "server", "17")
    with started(server, unencrypted), pgbouncer(tmp_path, unencrypted, server) as pooler:
        login = pooler.login("neobank_1", "application", sslmode="disable")
        assert ask({**login, "sslrootcert": ""}, "SELECT current_user::text") == [("neobank_1",)]
