"""What the service's tests share apart from fixtures."""

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from flask import Flask
from flask.testing import FlaskClient
from sqlalchemy import URL, Connection, Engine, event, text
from werkzeug.test import TestResponse

from neobank.players.operations import register
from tools.postgres import LOGINS, START, Postgres, embedded_binaries, write_credentials


@dataclass(frozen=True)
class Database:
    """The server under test: a URL for each role."""

    urls: dict[str, URL]
    embedded: Postgres | None

    def url(self, role: str) -> URL:
        return self.urls[role]


def given_database(url: URL, credentials: Path) -> Database:
    """Make roles and database on somebody's server; its superuser, whose password roles.sql takes, gets it back."""
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
    """A player's side of the conversation."""

    client: FlaskClient
    number: str
    headers: dict[str, str]

    def ask(self, method: str, path: str, **body: object) -> TestResponse:
        """Send a request as this player; a GET's fields go into the query."""
        fields = {"query_string": body} if method == "GET" else {"json": body}
        return self.client.open(f"/api/v1{path}", method=method, headers=self.headers, **fields)  # type: ignore[arg-type]


@dataclass(frozen=True)
class Terminal:
    """A vendor's side of the conversation."""

    client: FlaskClient
    key: str
    id: int

    def ask(self, method: str, path: str, *, once: str | None = None, **body: object) -> TestResponse:
        headers = {"X-API-Key": self.key} | ({} if once is None else {"Idempotency-Key": once})
        fields = {} if method == "GET" else {"json": body}
        return self.client.open(f"/api/v1/external{path}", method=method, headers=headers, **fields)  # type: ignore[arg-type]

    def pay(self, payer: str, receiver: str, amount: object, once: str | None = None) -> TestResponse:
        return self.ask("POST", "/transactions", once=once, from_account=payer, to_account=receiver, amount=amount)


@contextmanager
def counted(app: Flask) -> Iterator[list[str]]:
    """Collect the SQL statements that an application sends."""
    sent: list[str] = []

    def note(*arguments: object) -> None:
        sent.append(str(arguments[2]))

    engine: Engine = app.extensions["neobank"].engine
    event.listen(engine, "before_cursor_execute", note)
    try:
        yield sent
    finally:
        event.remove(engine, "before_cursor_execute", note)


def end_backend(other: Engine, connection: Connection) -> None:
    """End the server's side of a connection, as a restart does, and wait until it is gone."""
    process = connection.connection.driver_connection.info.backend_pid  # type: ignore[union-attr]
    with other.connect() as killer:
        ended = killer.execute(text("SELECT pg_terminate_backend(:process, 10000)"), {"process": process})
        assert ended.scalar_one()


def open_players(connection: Connection, count: int) -> list[int]:
    """Open accounts with an opening balance each, without the cost of hashing passwords."""
    return [
        register(connection, name=f"Player {index}", password_hash="none", faction=None).account_id
        for index in range(count)
    ]


def reset_schema(owner: Engine) -> None:
    """Empty the database's schema, as roles.sql leaves it before the first upgrade."""
    with owner.begin() as connection:
        connection.execute(text("DROP SCHEMA public CASCADE"))
        connection.execute(text("CREATE SCHEMA public"))
        connection.execute(text("GRANT USAGE ON SCHEMA public TO neobank, neobank_backup, neobank_metrics"))
