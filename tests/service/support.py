"""What several tests of the service need, apart from fixtures."""

import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, cast

from flask import Flask
from flask.testing import FlaskClient
from sqlalchemy import URL, Connection, Engine, text
from werkzeug.test import TestResponse

from neobank.ledger.operations import Kind, PostedTransfer, pay
from neobank.players.operations import register
from neobank.settings import Administrator
from neobank.web.authentication import begin_session
from neobank.web.bank import Bank
from tools.postgres import LOGINS, START, Postgres, embedded_binaries, write_credentials

BANKROLL = 1_000_000_000
"""The opening balance of the casino's house, in hundredths."""

OPENING_BALANCE = 100_000
"""The balance of a new player, in hundredths."""

ADMINISTRATOR = Administrator("Organiser", "correct horse battery")
SECRET_KEY = b"k" * 32

SECRET_PASSWORD = "s3cr3t-that-no-output-contains"
DEAD_URL = f"postgresql://neobank_0:{SECRET_PASSWORD}@127.0.0.1:1/neobank"
"""A valid URL of a database that refuses connections."""

SERVING = {"SECRET_KEY": "k" * 32, "DATABASE_URL": DEAD_URL}
"""Valid settings of the server."""

_BELOW_FLOOR = text("SELECT account_id, shard, balance FROM balances WHERE balance < floor")


@dataclass(frozen=True)
class Database:
    """The server under test: a URL for each role."""

    urls: dict[str, URL]
    embedded: Postgres | None

    def url(self, role: str) -> URL:
        return self.urls[role]

    def setting(self, role: str) -> str:
        """Return a role's URL as a setting contains it, with the password."""
        return self.url(role).render_as_string(hide_password=False)


def given_database(url: URL, credentials: Path) -> Database:
    """Create the roles and the database on an existing server.

    roles.sql removes the password of the superuser `postgres`; the original one is set again afterwards.
    """
    write_credentials(credentials)
    give_back = credentials / "give-back.sql"
    give_back.write_text("\\getenv password PGPASSWORD\nALTER ROLE postgres PASSWORD :'password';\n")
    subprocess.run(
        [
            str(embedded_binaries() / "psql"),
            "--no-psqlrc",
            "--quiet",
            "--file",
            str(START.with_name("roles.sql")),
            "--file",
            str(give_back),
        ],
        env={
            **os.environ,
            "NEOBANK_CREDENTIALS": str(credentials),
            "PGHOST": url.host or "",
            "PGPORT": str(url.port or 5432),
            "PGUSER": url.username or "",
            "PGPASSWORD": url.password or "",
            "PGDATABASE": url.database or "postgres",
        },
        check=True,
    )
    urls = {
        role: url.set(username=login, password=(credentials / role).read_text(), database="neobank")
        for role, login in LOGINS.items()
    }
    return Database(urls | {"superuser": url.set(database="neobank")}, None)


@dataclass(frozen=True)
class LoggedIn:
    """A session of a player or organiser."""

    client: FlaskClient
    number: str
    headers: dict[str, str]

    def send(self, method: str, path: str, *, once: object = None, **fields: object) -> TestResponse:
        """Send a request to the players' interface; `once` is its Idempotency-Key."""
        return self._send(method, f"/api/v1{path}", once, fields)

    def administer(self, method: str, path: str, *, once: object = None, **fields: object) -> TestResponse:
        """Send a request to the organisers' interface; `once` is its Idempotency-Key."""
        return self._send(method, f"/api/admin{path}", once, fields)

    def account(self) -> dict[str, object]:
        found: dict[str, object] = self.send("GET", "/account").get_json()["account"]
        return found

    def balance(self) -> float:
        return cast("float", self.account()["balance"])

    def pay(self, receiver: str, amount: object, *, once: object = None, **fields: object) -> TestResponse:
        return self.send("POST", "/transactions", once=once, to_account=receiver, amount=amount, **fields)

    def _send(self, method: str, path: str, once: object, fields: dict[str, object]) -> TestResponse:
        return open_json(self.client, method, path, self.headers, once, fields)


@dataclass(frozen=True)
class Terminal:
    """A vendor's terminal with its API key."""

    client: FlaskClient
    key: str
    id: int

    def send(self, method: str, path: str, *, once: object = None, **fields: object) -> TestResponse:
        """Send a request to the vendors' interface; `once` is its Idempotency-Key."""
        return open_json(self.client, method, f"/api/v1/external{path}", {"X-API-Key": self.key}, once, fields)

    def pay(self, payer: str, receiver: str, amount: object, once: object = None) -> TestResponse:
        return self.send("POST", "/transactions", once=once, from_account=payer, to_account=receiver, amount=amount)


class NewTerminal(Protocol):
    """Create an API key with these fields as an organiser."""

    def __call__(self, **fields: object) -> Terminal: ...


Join = Callable[[str], LoggedIn]
"""Register a player under a name and log in."""

Books = Callable[[], None]
"""Assert that every invariant of the ledger holds."""


def open_json(
    client: FlaskClient, method: str, path: str, headers: dict[str, str], once: object, fields: dict[str, object]
) -> TestResponse:
    """Send a request whose fields are the query of a GET, or else the JSON body."""
    headers = headers | ({} if once is None else {"Idempotency-Key": str(once)})
    if method == "GET":
        return client.open(path, method=method, headers=headers, query_string=fields)
    return client.open(path, method=method, headers=headers, json=fields)


def log_in(client: FlaskClient, name: str, password: str, device: str | None = None) -> LoggedIn:
    """Log in with a password; the device is the User-Agent, by default that of the client."""
    headers = {} if device is None else {"User-Agent": device}
    answer = client.post("/api/v1/auth/login", json={"character_name": name, "password": password}, headers=headers)
    assert answer.status_code == 200, answer.text
    body = answer.get_json()
    return LoggedIn(client, body["user"]["account_number"], {"Authorization": f"Bearer {body['access_token']}"})


def bank_of(app: Flask) -> Bank:
    """Return the state of an application."""
    bank: Bank = app.extensions["neobank"]
    return bank


def open_session(app: Flask, account: int) -> dict[str, str]:
    """Open a session without the cost of hashing a password; return its headers."""
    with app.test_request_context(), bank_of(app).transaction() as connection:
        return {"Authorization": f"Bearer {begin_session(connection, account)}"}


def neobank(*words: str, stdin: str = "", **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a command of the service with these environment variables and no others."""
    command = [str(Path(sys.executable).with_name("neobank")), *words]
    return subprocess.run(
        command, input=stdin, env=environment, capture_output=True, encoding="utf-8", timeout=120, check=False
    )


def end_backend(other: Engine, connection: Connection) -> None:
    """End the PostgreSQL backend of a connection, as a restart does, and wait until it has exited."""
    end_process(other, backend_pid(connection))


def end_process(other: Engine, backend: int) -> None:
    """End the PostgreSQL backend with this process id by another connection, and wait until it has exited."""
    with other.connect() as killer:
        ended = killer.execute(text("SELECT pg_terminate_backend(:backend, 10000)"), {"backend": backend})
        assert ended.scalar_one()


def backend_pid(connection: Connection) -> int:
    """Return the process id of a connection's PostgreSQL backend."""
    pid: int = connection.connection.driver_connection.info.backend_pid  # type: ignore[union-attr]
    return pid


def open_players(connection: Connection, count: int) -> list[int]:
    """Open accounts with an opening balance each, without the cost of hashing passwords; return their ids."""
    return [
        register(connection, name=f"Player {index}", password_hash="none", faction=None).account_id
        for index in range(count)
    ]


def reset_schema(owner: Engine) -> None:
    """Restore the empty schema as roles.sql leaves it before the first upgrade."""
    with owner.begin() as connection:
        connection.execute(text("DROP SCHEMA public CASCADE"))
        connection.execute(text("CREATE SCHEMA public"))
        connection.execute(text("GRANT USAGE ON SCHEMA public TO neobank, neobank_backup, neobank_metrics"))


def transfer(
    connection: Connection, debit: int, credit_number: str, amount: int, kind: Kind = Kind.TRANSFER
) -> PostedTransfer:
    """Post a transfer by the ledger's operation, with the payer as actor; the amount is in hundredths."""
    return pay(connection, debit=debit, credit_number=credit_number, amount=amount, kind=kind, memo="", actor=debit)


def below_floor(connection: Connection) -> list[tuple[int, int, int]]:
    """Return account, shard and balance of each shard that is below its floor."""
    return [tuple(row) for row in connection.execute(_BELOW_FLOOR)]
