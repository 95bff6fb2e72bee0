"""Shared functions of the database's tests: processes that use a volume, sessions on a server, waits, refusals."""

import contextlib
import hashlib
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

import psycopg2
import pytest
from psycopg2.extensions import connection as Connection  # noqa: N812  # it is a class
from psycopg2.extensions import make_dsn

from tools import postgres
from tools.postgres import LOGINS, NOBODY, Postgres, as_nobody, free_port

PATIENCE = 30.0

Row = tuple[object, ...]
Where = Mapping[str, str]


def eventually(holds: Callable[[], bool], what: str, evidence: Callable[[], str] = str) -> None:
    """Wait until a condition is true; fail with `evidence` after 30 seconds."""
    deadline = time.monotonic() + PATIENCE
    while not holds():
        assert time.monotonic() < deadline, f"{what} did not happen within {PATIENCE:.0f} s\n{evidence()}"
        time.sleep(0.005)


def users_of(volume: Path) -> set[int]:
    """Return the processes that hold the volume's lock open: start.sh and all that it started."""
    lock = volume / ".lock"
    return {pid for pid in processes() if any(points_at(fd, lock) for fd in entries(Path(f"/proc/{pid}/fd")))}


def processes() -> list[int]:
    return [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit()]


def child_of(parent: int, name: str) -> int | None:
    """Return the id of a process's child that runs a program, or None."""
    for pid in processes():
        try:
            words = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").split()
        except OSError:
            continue
        if words[1] == f"({name})" and int(words[3]) == parent:
            return pid
    return None


def entries(folder: Path) -> list[Path]:
    try:
        return list(folder.iterdir())
    except OSError:  # the process ended meanwhile, or belongs to another user
        return []


def points_at(link: Path, target: Path) -> bool:
    try:
        return link.readlink() == target
    except OSError:
        return False


def kill_users(volume: Path) -> None:
    """Send SIGKILL to every process on the volume, as the end of a container does, and wait until all have ended."""

    def none_left() -> bool:
        left = users_of(volume)
        for pid in left:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        return not left

    eventually(none_left, "the end of every process on the volume", lambda: str(users_of(volume)))


@dataclass(frozen=True)
class Pod:
    """One run of start.sh, and its output."""

    process: subprocess.Popen[bytes]
    stdout: Path
    stderr: Path

    def errors(self) -> str:
        """Return standard error so far."""
        return self.stderr.read_text(encoding="utf-8")

    def output(self) -> str:
        """Return standard error and standard output so far."""
        return self.errors() + self.stdout.read_text(encoding="utf-8")

    def await_words(self, words: str) -> None:
        eventually(lambda: words in self.errors(), f"'{words}' on stderr", self.errors)

    def ends(self) -> int:
        return self.process.wait(timeout=PATIENCE)


def pod(server: Postgres, word: str, *options: str, identity: list[str] | None = None, **changes: str) -> Pod:
    """Run start.sh on the server's volume with `identity` as command prefix and changes to its environment."""
    number = len(list(server.log.parent.glob("pod-*.err")))
    stdout, stderr = (server.log.parent / f"pod-{number}.{end}" for end in ("out", "err"))
    with stdout.open("wb") as out, stderr.open("wb") as err:
        process = subprocess.Popen(
            [*(as_nobody() if identity is None else identity), "bash", str(postgres.START), word, *options],
            env={**server._environment(), **changes},
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=err,
        )
    return Pod(process, stdout, stderr)


def own_process_namespace() -> list[str]:
    """Return a command prefix that runs a command as process 1, as a container does; skip where that is forbidden."""
    words = ["unshare", "--user", f"--map-user={NOBODY}", f"--map-group={NOBODY}", "--pid", "--fork", "--kill-child"]
    if subprocess.run([*words, "true"], check=False, capture_output=True).returncode != 0:
        pytest.skip("this machine forbids user namespaces")
    return words


@contextmanager
def second_serve(server: Postgres, identity: list[str] | None = None) -> Iterator[tuple[Pod, int]]:
    """Start a second pod's server on the volume; yield it with its port, and kill every process on the volume."""
    port = free_port()
    options = ["-c", f"port={port}", "-c", "listen_addresses=127.0.0.1", "-c", "unix_socket_directories="]
    second = pod(server, "serve", *options, identity=identity)
    try:
        yield second, port
    finally:
        kill_users(server.volume)
        second.ends()


def await_answer(where: Where, statement: str, started: Pod) -> None:
    """Wait until the server of a pod that was just started answers a statement with one row, 1."""

    def answers() -> bool:
        try:
            return ask(where, statement) == [(1,)]
        except psycopg2.OperationalError:
            return False

    eventually(answers, f"an answer to {statement}", started.errors)


def await_payments(server: Postgres, port: int, second: Pod) -> None:
    """Wait until the second pod's server returns the one payment."""
    await_answer(as_role(server, "owner", port=str(port)), "SELECT id FROM payments", second)


@contextmanager
def session(where: Where) -> Iterator[Connection]:
    """Open a session that commits each statement."""
    connection = psycopg2.connect(make_dsn(**where))
    try:
        connection.autocommit = True
        yield connection
    finally:
        connection.close()


def password(server: Postgres, file: str) -> str:
    """Return the content of one of the password files, which are named after their roles."""
    return (server.credentials / file).read_text(encoding="utf-8")


def as_role(server: Postgres, role: str, **changes: str) -> Where:
    """Return the parameters with which a role logs in over TCP, with changes."""
    login = {"host": "127.0.0.1", "port": str(server.port), "dbname": "neobank", "user": LOGINS[role]}
    return login | {"password": password(server, role)} | changes


def as_superuser(server: Postgres) -> Where:
    """Return the parameters with which the superuser logs in, over the socket."""
    return {"host": str(server.sockets), "port": str(server.port), "dbname": "neobank", "user": "postgres"}


def ask(where: Where, *statements: str) -> list[Row]:
    """Run statements in one session; return the rows of the last."""
    with session(where) as connection, connection.cursor() as cursor:
        for statement in statements:
            cursor.execute(statement)
        return list(cursor.fetchall()) if cursor.description else []


def refusal(where: Where, statement: str = "SELECT 1") -> str:
    """Run a statement that must be refused; return the server's error message."""
    try:
        rows = ask(where, statement)
    except psycopg2.Error as error:
        return str(error)
    message = f"{where['user']} logged in to {where['dbname']}, and {statement} returned {rows}"
    raise AssertionError(message)


def payments(server: Postgres) -> list[int]:
    return [int(str(row[0])) for row in ask(as_superuser(server), "SELECT id FROM payments ORDER BY id")]


CATALOGUE = {
    "roles": "SELECT rolname, rolsuper, rolinherit, rolcreaterole, rolcreatedb, rolcanlogin, rolreplication,"
    " rolbypassrls, rolconnlimit, rolvaliduntil::text, rolpassword IS NULL FROM pg_authid ORDER BY 1",
    "members": "SELECT roleid::regrole::text, member::regrole::text, admin_option FROM pg_auth_members ORDER BY 1, 2",
    "settings": "SELECT setrole::regrole::text, setdatabase, setconfig FROM pg_db_role_setting ORDER BY 1, 2",
    "databases": "SELECT datname, datdba::regrole::text, datallowconn, datconnlimit, datacl::text"
    " FROM pg_database ORDER BY 1",
    "schemas": "SELECT nspname, nspowner::regrole::text, nspacl::text FROM pg_namespace"
    " WHERE nspname !~ '^pg_temp|^pg_toast' ORDER BY 1",
    "functions": "SELECT oid::regprocedure::text, proacl::text FROM pg_proc"
    " WHERE pronamespace = 'pg_catalog'::regnamespace AND proacl IS NOT NULL ORDER BY 1",
}


def catalogue(server: Postgres, queries: Mapping[str, str] = MappingProxyType(CATALOGUE)) -> dict[str, list[Row]]:
    """Return the rows of catalogue queries: by default all that roles.sql decides except the passwords' hashes."""
    return {what: ask(as_superuser(server), query) for what, query in queries.items()}


def listing(folder: Path) -> dict[str, tuple[int, int, int, str]]:
    """Return mode, owner, modification time and content hash of the folder and all in it."""
    return {str(path.relative_to(folder)): state(path) for path in [folder, *folder.rglob("*")]}


def state(path: Path) -> tuple[int, int, int, str]:
    status = path.lstat()
    content = hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else ""
    return status.st_mode, status.st_uid, status.st_mtime_ns, content


def assert_refused(refused: Pod, *words: str) -> None:
    """Assert that start.sh ended with one sentence that contains the words."""
    assert refused.ends() not in {0, None}
    [sentence] = refused.errors().splitlines()
    assert sentence.startswith("start.sh: ")
    assert sentence.endswith(".")
    for word in words:
        assert word in sentence


def assert_untouched(server: Postgres, *words: str, identity: list[str] | None = None, **changes: str) -> None:
    """Assert that both commands refuse the volume with these words and change nothing on it."""
    before = listing(server.volume)
    for command in ("prepare", "serve"):
        assert_refused(pod(server, command, identity=identity, **changes), *words)
    assert listing(server.volume) == before
