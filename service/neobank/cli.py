"""`neobank …`: what is run by hand, by the image and by the Job. An error is one line and an exit code."""

import os
import sys
import time
from logging.config import dictConfig

import click
from prometheus_client import CollectorRegistry
from sqlalchemy import URL, text
from sqlalchemy.exc import SQLAlchemyError

from neobank import counters, migrations, sessions
from neobank.audit.verification import verify_chain
from neobank.casino.commands import casino_group, verify_round_command
from neobank.casino.seeds import renew_all
from neobank.casino.verification import MAX_NAMED, verify_rounds
from neobank.contract import CONTRACT
from neobank.database import connect, reason
from neobank.ledger.money import format_amount
from neobank.ledger.verification import verify
from neobank.monitoring import figures, logs, server, shared
from neobank.settings import (
    NAMES,
    MetricsSettings,
    ServingSettings,
    SettingsError,
    UpgradeSettings,
    database_url,
    database_urls,
)
from neobank.vendors import charges
from neobank.web import idempotency

POLL = 0.5  # seconds between two tries to reach the database
WITH_TIMEOUT = click.option(
    "--timeout", type=click.FloatRange(0), default=60, show_default=True, help="Seconds to wait for PostgreSQL."
)


class Failure(click.ClickException):
    """One line for whoever ran the command."""

    def show(self, file: object = None) -> None:
        """Print the line."""
        del file
        click.echo(f"neobank: {self.message}", err=True)


class Commands(click.Group):
    """Commands whose foreseeable errors end in one line, with no traceback and no password."""

    def invoke(self, ctx: click.Context) -> object:
        """Run a command."""
        try:
            return super().invoke(ctx)
        except (SettingsError, migrations.MigrationFailed, ValueError) as error:
            raise Failure(str(error)) from None
        except SQLAlchemyError as error:
            raise Failure(reason(error)) from None


@click.group(cls=Commands)
def main() -> None:
    """The bank of a live-action role-play event."""


main.add_command(casino_group)
main.add_command(verify_round_command)


@main.group()
def db() -> None:
    """The database: bring its schema up to date, end a login or a restore."""


@db.command("upgrade")
@WITH_TIMEOUT
def upgrade_command(timeout: float) -> None:
    """Wait for the database, and bring its schema to this version.

    Any number may do so at once, and doing it again changes nothing.
    """
    settings = UpgradeSettings.from_environment()
    wait(settings.owner_url, timeout)
    revision = migrations.upgrade(settings)
    click.echo(f"The database is at revision {revision}.")


@db.command("close-previous-login")
@click.argument("number", type=click.IntRange(min=1))
def close_previous_login(number: int) -> None:
    """End the login that the application used before rotation NUMBER of its password, and its sessions."""
    engine = connect(database_url(os.environ, NAMES.database_owner_url))
    with engine.begin() as connection:
        connection.execute(text("SELECT administration.close_previous_login(:number)"), {"number": number})
    engine.dispose()
    click.echo(f"The login from before rotation {number} is closed.")


@db.command("restored")
def restored_command() -> None:
    """End every restore with this: retire all seeds in use, of which players may know rounds that are lost."""
    engine = connect(database_url(os.environ, NAMES.database_owner_url))
    with engine.begin() as connection:
        players = renew_all(connection)
    engine.dispose()
    click.echo(f"The seeds of {players} players are retired; each has new ones.")


@main.command()
def expire() -> None:
    """Remove what is past its time, every hour: rate limits' counters, sessions, kept answers, unpaid charges."""
    engine = connect(database_url(os.environ, NAMES.database_url))
    with engine.begin() as connection:
        counted = counters.clear_ended(connection)
        ended = sessions.forget_ended(connection)
        answered = idempotency.forget(connection)
        unpaid = charges.forget_unpaid(connection)
    engine.dispose()
    click.echo(f"Removed {counted} counters, {ended} sessions, {answered} answers and {unpaid} unpaid charges.")


@main.command()
@WITH_TIMEOUT
def start(timeout: float) -> None:
    """Wait for the database, bring it up to date, then become the server."""
    upgrade = UpgradeSettings.from_environment()
    ServingSettings.from_environment()
    for url in database_urls():
        wait(url, timeout)
    migrations.upgrade(upgrade)
    for name in (NAMES.database_owner_url, NAMES.admin_name, NAMES.admin_password):
        os.environ.pop(name, None)
    os.execvp(CONTRACT.serve[0], CONTRACT.serve)  # noqa: S606


@main.command("metrics")
def metrics_command() -> None:
    """Serve the metrics of the bank's workers on this machine to Prometheus, beside the bank."""
    settings = MetricsSettings.from_environment()
    if settings.folder is None:
        raise Failure(
            f"{NAMES.metrics_folder} is not set: it names the folder that the serving process has there, too."
        )
    if not settings.folder.is_dir():
        raise Failure(f"{NAMES.metrics_folder} is {str(settings.folder)!r}, which is no folder: start the bank first.")
    _serve(shared.registry(settings.folder), settings)


@main.command("figures")
def figures_command() -> None:
    """Serve the figures of the books to Prometheus, as the role that may read nothing else."""
    settings = MetricsSettings.from_environment()
    engine = connect(database_url(os.environ, NAMES.database_url))
    registry = CollectorRegistry()
    registry.register(figures.Figures(engine))
    _serve(registry, settings)
    engine.dispose()


def _serve(registry: CollectorRegistry, settings: MetricsSettings) -> None:
    dictConfig(logs.configuration(settings.log_level))
    try:
        server.serve(registry, settings.host, settings.port)
    except OSError as error:
        raise Failure(f"port {settings.port} of {settings.host} can't be had: {error.strerror}.") from None


@main.command("verify")
def verify_command() -> None:
    """Recompute every balance from the transfers, the audit's hashes and retired seeds' rounds; say what differs."""
    engine = connect(database_url(os.environ, NAMES.database_url))
    with engine.connect().execution_options(isolation_level="REPEATABLE READ") as connection, connection.begin():
        verdict = verify(connection)
        chain = verify_chain(connection)
        fairness = verify_rounds(connection)
    engine.dispose()
    for difference in verdict.differences:
        click.echo(
            f"{difference.number} has {format_amount(difference.balance)}, "
            f"and its transfers add up to {format_amount(difference.transfers)}."
        )
    total = format_amount(verdict.total)
    looked = f"{verdict.accounts} accounts, {verdict.transfers} transfers, sum of all balances {total}"
    problems = [] if verdict.sound else [f"{len(verdict.differences)} balances differ; {looked}"]
    if chain.broken_at is not None:
        problems.append(f"the audit was changed: its row {chain.broken_at} does not follow from those before it")
    for problem in fairness.problems[:MAX_NAMED]:
        click.echo(problem)
    if fairness.problems:
        problems.append(f"{len(fairness.problems)} things are wrong with rounds or seeds")
    if problems:
        raise Failure(f"the books are wrong: {'; '.join(problems)}.")
    click.echo(f"All balances agree with their transfers: {looked}.")
    click.echo(f"The audit's {chain.rows} rows agree; note its head, so that none can be cut off: {chain.head.hex()}")
    click.echo(f"The {fairness.rounds} rounds of {fairness.seeds} retired seeds are what their seeds make of them.")


def wait(url: URL, timeout: float) -> None:
    """Wait until the database lets this URL's role in; `timeout` is in seconds. Raises Failure."""
    place = f"PostgreSQL at {url.host}:{url.port or CONTRACT.database_port} as {url.username}"
    engine = connect(url)
    deadline = time.monotonic() + timeout
    said = ""
    while True:
        try:
            with engine.connect() as connection:
                connection.execute(text("SELECT 1"))
        except SQLAlchemyError as error:
            found = reason(error)
        else:
            engine.dispose()
            return
        if time.monotonic() >= deadline:
            raise Failure(f"gave up waiting for {place} after {timeout:g} seconds: {found}")
        if found != said:
            click.echo(f"Waiting for {place}: {found}", err=True)
            said = found
        time.sleep(POLL)


if __name__ == "__main__":
    sys.exit(main())
