"""What the service's tests share apart from fixtures."""

import os
import subprocess
from dataclasses import dataclass
from pathlib import Path

from flask.testing import FlaskClient
from sqlalchemy import URL, Connection

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


def open_players(connection: Connection, count: int) -> list[int]:
    """Open accounts with an opening balance each, without the cost of hashing passwords."""
    return [
        register(connection, name=f"Player {index}", password_hash="none", faction=None).account_id
        for index in range(count)
    ]
