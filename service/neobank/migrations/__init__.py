"""The schema's history, and the one way to bring a database to its end."""

from importlib.resources import files

from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, inspect, text
from sqlalchemy.exc import SQLAlchemyError

from neobank.casino.configuration import provision_games
from neobank.database import connect, reason
from neobank.players.provisioning import fund_house, provision_administrator
from neobank.settings import UpgradeSettings


class MigrationFailed(Exception):
    """A revision could not be run; nothing of the upgrade was done. The message names it and what PostgreSQL said."""


_LOCK = 0x6E656F62616E6B  # "neobank": whoever upgrades holds this advisory lock


def read_sql(name: str) -> str:
    """Read one of this package's SQL files."""
    return files("neobank.migrations").joinpath(name).read_text(encoding="utf-8")


def head() -> str:
    """Name the revision that this code was written for."""
    revision = ScriptDirectory.from_config(_config()).get_current_head()
    if revision is None:
        raise RuntimeError("the package holds no migrations")
    return revision


def current(connection: Connection) -> str | None:
    """Name the revision that the database is at; None for a database that was never upgraded."""
    if not inspect(connection).has_table("alembic_version"):
        return None
    return connection.execute(text("SELECT version_num FROM alembic_version")).scalar_one_or_none()


def upgrade(settings: UpgradeSettings) -> str:
    """Bring the database to this code's revision, with its grants, bankroll and first administrator.

    All of it commits together or not at all, any number may do it at once, and doing it again changes nothing.
    Migrations only add, so a database that a newer image has already upgraded is left as it is. Gives the revision
    reached.
    """
    engine = connect(settings.owner_url)
    with engine.begin() as connection:
        connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": _LOCK})
        before = current(connection)
        if before is None or before <= head():
            _migrate(connection, before)
            connection.exec_driver_sql(read_sql("grants.sql"))
            provision_games(connection)
        fund_house(connection, settings.house_bankroll)
        if settings.administrator:
            provision_administrator(connection, settings.administrator)
        reached = current(connection)
    engine.dispose()
    return reached or head()


def _migrate(connection: Connection, before: str | None) -> None:
    """Run each revision that the database lacks. Raises MigrationFailed, which names the one that could not be run."""
    config = _config()
    config.attributes["connection"] = connection
    lacking = ScriptDirectory.from_config(config).iterate_revisions("head", before or "base")
    for revision in reversed([script.revision for script in lacking]):
        try:
            command.upgrade(config, revision)
        except SQLAlchemyError as error:
            raise MigrationFailed(f"revision {revision} failed, so nothing was changed: {reason(error)}") from error


def _config() -> Config:
    config = Config()
    config.set_main_option("script_location", "neobank:migrations")
    return config
