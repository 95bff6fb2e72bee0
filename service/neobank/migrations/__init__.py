"""The schema: numbered migrations for tables and data, then the current functions, views and grants.

`versions/` and `sql/` contain the numbered migrations, each of which runs once. `functions/`, `views/` and `grants.sql`
contain the current definitions of everything else, so each definition exists once. They are applied at every upgrade,
views only if a revision is missing. A change of a function or a view needs a new revision that records
`definitions_digest()`: `/health/ready` and older images compare the revision to know which functions the database has.
"""

import hashlib
import logging
import time
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import PurePath
from typing import Final

from alembic import command
from alembic.config import Config
from alembic.script import Script, ScriptDirectory
from sqlalchemy import Connection, Engine, inspect, text
from sqlalchemy.exc import SQLAlchemyError

from neobank.database import connect, reason
from neobank.provisioning import fund_house, provision_administrator, provision_games, set_opening_balance
from neobank.settings import UpgradeSettings


class MigrationFailed(Exception):
    """A step of the upgrade failed and nothing was changed. The message names the step and PostgreSQL's error."""


class Blocked(MigrationFailed):
    """A step waited too long for a table or view that another session uses, or would have deadlocked with it."""


logger = logging.getLogger(__name__)

_LOCK: Final = 0x6E656F62616E6B  # "neobank" in ASCII: the key of the advisory lock of an upgrade
_PATIENCE: Final = 120  # seconds in which a blocked upgrade is repeated; less than the Job's deadline
_PAUSE: Final = 0.5  # seconds before a repetition, in which sessions that waited behind the upgrade proceed
_BLOCKED: Final = frozenset({"55P03", "40P01"})  # lock_not_available, deadlock_detected: the other session goes on
# Every privilege on an object of the schema: role, object, privilege.
_PRIVILEGES: Final = text("""
    SELECT coalesce(role.rolname, 'PUBLIC'), object.name, acl.privilege_type
    FROM (
        SELECT relname, coalesce(relacl, acldefault(CASE relkind WHEN 'S' THEN 's' ELSE 'r' END::"char", relowner))
        FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'v', 'm', 'p', 'S', 'f')
        UNION ALL
        SELECT proname, coalesce(proacl, acldefault('f', proowner))
        FROM pg_proc WHERE pronamespace = 'public'::regnamespace
        UNION ALL
        SELECT relname || '.' || attname, attacl FROM pg_attribute JOIN pg_class ON pg_class.oid = attrelid
        WHERE relnamespace = 'public'::regnamespace AND attacl IS NOT NULL
    ) AS object (name, privileges), aclexplode(privileges) AS acl LEFT JOIN pg_roles AS role ON role.oid = acl.grantee
    WHERE role.rolname IS DISTINCT FROM current_user
""")
# The names of all objects of the schema, as _PRIVILEGES writes them.
_OBJECTS: Final = text("""
    SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace
    UNION SELECT proname FROM pg_proc WHERE pronamespace = 'public'::regnamespace
    UNION SELECT relname || '.' || attname FROM pg_attribute JOIN pg_class ON pg_class.oid = attrelid
    WHERE relnamespace = 'public'::regnamespace
""")


def read_sql(name: str) -> str:
    """Return the text of one of this package's SQL files."""
    return _folder().joinpath(name).read_text(encoding="utf-8")


def head() -> str:
    """Return the revision that this code was written for."""
    return _head().revision


def current(connection: Connection) -> str | None:
    """Return the revision of a database, or None if it was never upgraded."""
    if not inspect(connection).has_table("alembic_version"):
        return None
    return connection.execute(text("SELECT version_num FROM alembic_version")).scalar_one_or_none()


def definitions_digest() -> str:
    """Return the digest of the text of all functions, views and grants."""
    sources = [*_sql_files("functions"), *_sql_files("views"), _folder().joinpath("grants.sql")]
    return digest("\n".join(file.read_text(encoding="utf-8") for file in sources))


def digest(source: str) -> str:
    """Return the SHA-256 (hex) of SQL without comment lines and indentation.

    White space and `--` within a line count, because they may be part of a string literal.
    """
    lines = [line.strip() for line in source.splitlines()]
    return hashlib.sha256("\n".join(line for line in lines if line and not line.startswith("--")).encode()).hexdigest()


def recorded_digest() -> str:
    """Return the digest of the definitions that the newest revision records."""
    return str(_head().module.definitions)


def upgrade(settings: UpgradeSettings) -> str:
    """Upgrade the database to this code's revision, with its functions, grants, bankroll and first administrator.

    Everything is committed in one transaction or not at all. Concurrent upgrades are safe, and a rerun changes nothing.
    A database that a newer image has upgraded keeps its schema, which is compatible with this version.
    An upgrade that waits for a lock blocks every later user of the table or view. So it waits briefly, rolls back and
    starts again, for up to two minutes.
    Return the database's revision. Raise MigrationFailed.
    """
    engine = connect(settings.owner_url)
    deadline = time.monotonic() + _PATIENCE
    try:
        while True:
            try:
                return _upgrade_once(engine, settings)
            except Blocked:
                if time.monotonic() > deadline:
                    raise
            time.sleep(_PAUSE)
    finally:
        engine.dispose()


def _upgrade_once(engine: Engine, settings: UpgradeSettings) -> str:
    with engine.begin() as connection:
        connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": _LOCK})
        before = current(connection)
        if before is None or before <= head():
            _migrate(connection, before)
            provision_games(connection)
            set_opening_balance(connection, settings.opening_balance)
        fund_house(connection, settings.house_bankroll)
        if settings.administrator:
            provision_administrator(connection, settings.administrator)
        return current(connection) or head()


def _migrate(connection: Connection, before: str | None) -> None:
    """Run the missing revisions, with the views, then apply functions and grants. Raise MigrationFailed.

    Log each privilege that the database had and grants.sql does not list, but not on objects that a revision drops.
    """
    granted = set(connection.execute(_PRIVILEGES).all())
    connection.execute(text("SET LOCAL lock_timeout = '2s'"))  # less than the service's own lock_timeout
    # Views are dropped first: a view would keep a migration from changing a column, and a reader that holds the view's
    # lock while it waits for a migrated table could deadlock with a later DROP VIEW. Without a missing revision they
    # stay, so that a rerun does not wait for an open transaction that has read one.
    views = _sql_files("views") if before != head() else []
    for view in views:
        _execute(connection, view.name, f"DROP VIEW IF EXISTS {PurePath(view.name).stem}")
    _run_revisions(connection, before)
    for file in (*_sql_files("functions"), *views, _folder().joinpath("grants.sql")):
        _execute(connection, file.name, file.read_text(encoding="utf-8"))
    kept = set(connection.execute(_OBJECTS).scalars())
    for role, name, privilege in sorted(granted - set(connection.execute(_PRIVILEGES).all())):
        if name in kept:
            logger.warning("Revoked %s on %s from %s: grants.sql does not list this privilege.", privilege, name, role)
    connection.execute(text("SET LOCAL lock_timeout TO DEFAULT"))


def _run_revisions(connection: Connection, before: str | None) -> None:
    config = _config()
    config.attributes["connection"] = connection
    missing = ScriptDirectory.from_config(config).iterate_revisions("head", before or "base")
    for revision in reversed([script.revision for script in missing]):
        try:
            command.upgrade(config, revision)
        except SQLAlchemyError as error:
            raise _failed(f"revision {revision}", error) from error


def _execute(connection: Connection, name: str, statements: str) -> None:
    try:
        connection.exec_driver_sql(statements)
    except SQLAlchemyError as error:
        raise _failed(name, error) from error


def _failed(step: str, error: SQLAlchemyError) -> MigrationFailed:
    if getattr(getattr(error, "orig", None), "pgcode", None) in _BLOCKED:
        return Blocked(
            f"{step} waits for a table or view that another session uses, so nothing was changed: end that session"
            " (pg_stat_activity lists it) and repeat the upgrade."
        )
    return MigrationFailed(f"{step} failed, so nothing was changed: {reason(error)}")


def _sql_files(kind: str) -> list[Traversable]:
    found = [file for file in _folder().joinpath(kind).iterdir() if file.name.endswith(".sql")]
    return sorted(found, key=lambda file: file.name)


def _folder() -> Traversable:
    return files("neobank.migrations")


def _head() -> Script:
    scripts = ScriptDirectory.from_config(_config())
    return scripts.get_revision(scripts.get_current_head() or "head")


def _config() -> Config:
    config = Config()
    config.set_main_option("script_location", "neobank:migrations")
    return config
