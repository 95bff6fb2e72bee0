"""The `neobank` commands, run by operators, the image and the Jobs. An error is one line and a non-zero exit code."""

import os
import sys
import time
from logging.config import dictConfig

import click
from prometheus_client import CollectorRegistry
from sqlalchemy import URL, text
from sqlalchemy.exc import SQLAlchemyError

from neobank import counters, migrations, sessions
from neobank.audit.verification import unexplained, verify_chain
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

POLL = 0.5  # seconds between two attempts to connect to the database
WITH_TIMEOUT = click.option(
    "--timeout", type=click.FloatRange(0), default=60, show_default=True, help="Seconds to wait for PostgreSQL."
)


class Failure(click.ClickException):
    """An error that is printed as one line."""

    def show(self, file: object = None) -> None:
        """Print the line."""
        del file
        click.echo(f"neobank: {self.message}", err=True)


class Commands(click.Group):
    """A group of commands that prints each expected error as one line, without a traceback or a password."""

    def invoke(self, ctx: click.Context) -> object:
        """Run a command. Raise Failure instead of each expected error."""
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
    """The database: upgrade its schema, close a login, complete a restore."""


@db.command("upgrade")
@WITH_TIMEOUT
def upgrade_command(timeout: float) -> None:
    """Wait for the database, and upgrade its schema to this version.

    Concurrent upgrades are safe, and a rerun changes nothing.
    """
    settings = UpgradeSettings.from_environment()
    wait(settings.owner_url, timeout)
    revision = migrations.upgrade(settings)
    click.echo(f"The database is at revision {revision}.")


@db.command("close-previous-login")
@click.argument("number", type=click.IntRange(min=1))
def close_previous_login(number: int) -> None:
    """Close the login that the application used before rotation NUMBER of its password, and end its sessions."""
    engine = connect(database_url(os.environ, NAMES.database_owner_url))
    with engine.begin() as connection:
        connection.execute(text("SELECT administration.close_previous_login(:number)"), {"number": number})
    engine.dispose()
    click.echo(f"The login from before rotation {number} is closed.")


@db.command("restored")
def restored_command() -> None:
    """Retire all seeds in use. Run this as the last step of every restore.

    After a restore, players may know rounds of these seeds that the database does not contain.
    """
    engine = connect(database_url(os.environ, NAMES.database_owner_url))
    with engine.begin() as connection:
        players = renew_all(connection)
    engine.dispose()
    click.echo(f"The seeds of {players} players are retired; each player has new ones.")


@main.command()
def expire() -> None:
    """Remove expired rate limit counters, sessions, saved responses and unpaid charges. Run this every hour."""
    engine = connect(database_url(os.environ, NAMES.database_url))
    with engine.begin() as connection:
        ended_windows = counters.clear_ended(connection)
        expired = sessions.forget_ended(connection)
        responses = idempotency.forget(connection)
        unpaid = charges.forget_unpaid(connection)
    engine.dispose()
    click.echo(
        f"Removed {ended_windows} counters, {expired} sessions, {responses} saved responses"
        f" and {unpaid} unpaid charges."
    )


@main.command()
@WITH_TIMEOUT
def start(timeout: float) -> None:
    """Wait for the database, upgrade it, then replace this process with the server."""
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
    """Serve the metrics of all workers of the bank on this machine to Prometheus."""
    settings = MetricsSettings.from_environment()
    if settings.folder is None:
        raise Failure(
            f"{NAMES.metrics_folder} is not set: set it to the folder that the server's {NAMES.metrics_folder} names."
        )
    if not settings.folder.is_dir():
        raise Failure(
            f"{NAMES.metrics_folder} is {str(settings.folder)!r}, which is not a folder: start the bank first."
        )
    _serve(shared.registry(settings.folder), settings)


@main.command("figures")
def figures_command() -> None:
    """Serve the figures of the books to Prometheus, with the database role that can read nothing else."""
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
        raise Failure(f"can't listen on port {settings.port} of {settings.host}: {error.strerror}.") from None


@main.command("verify")
def verify_command() -> None:
    """Recompute all balances, the audit log's hashes and the rounds of retired seeds, and print every difference.

    Also print each transfer that only an organiser may make and that the audit log does not explain.
    """
    engine = connect(database_url(os.environ, NAMES.database_url))
    with engine.connect().execution_options(isolation_level="REPEATABLE READ") as connection, connection.begin():
        verdict = verify(connection)
        chain = verify_chain(connection)
        unaudited = unexplained(connection)
        fairness = verify_rounds(connection)
    engine.dispose()
    for difference in verdict.differences:
        click.echo(
            f"{difference.number} has {format_amount(difference.balance)}, "
            f"and its transfers add up to {format_amount(difference.transfers)}."
        )
    total = format_amount(verdict.total)
    counts = f"{verdict.accounts} accounts, {verdict.transfers} transfers, sum of all balances {total}"
    problems = [] if verdict.sound else [f"{len(verdict.differences)} balances differ; {counts}"]
    if chain.broken_at is not None:
        problems.append(f"the audit log was changed: the hash of row {chain.broken_at} does not match")
    for transfer in unaudited:
        click.echo(
            f"transfer {transfer.transfer_id} of {format_amount(transfer.amount)} from {transfer.payer} to"
            f" {transfer.receiver} has no row in the audit log."
        )
    if unaudited:
        problems.append(f"{len(unaudited)} transfers that only organisers may make are not in the audit log")
    for problem in fairness.problems[:MAX_NAMED]:
        click.echo(problem)
    if fairness.problems:
        problems.append(f"{len(fairness.problems)} errors in rounds or seeds")
    if problems:
        raise Failure(f"the books are wrong: {'; '.join(problems)}.")
    click.echo(f"All balances agree with their transfers: {counts}.")
    click.echo(
        f"All {chain.rows} hashes of the audit log are correct. Write down the head, which proves later that no row at"
        f" the end was removed: {chain.head.hex()}"
    )
    click.echo(f"All {fairness.rounds} rounds of {fairness.seeds} retired seeds are correct.")


def wait(url: URL, timeout: float) -> None:
    """Wait until the role of this URL can connect. Raise Failure after `timeout` seconds."""
    server_and_role = f"PostgreSQL at {url.host}:{url.port or CONTRACT.database_port} as {url.username}"
    engine = connect(url)
    deadline = time.monotonic() + timeout
    printed = ""
    while True:
        try:
            with engine.connect() as connection:
                connection.execute(text("SELECT 1"))
        except SQLAlchemyError as error:
            message = reason(error)
        else:
            engine.dispose()
            return
        if time.monotonic() >= deadline:
            raise Failure(f"can't connect to {server_and_role} after {timeout:g} seconds: {message}")
        if message != printed:
            click.echo(f"Waiting for {server_and_role}: {message}", err=True)
            printed = message
        time.sleep(POLL)


if __name__ == "__main__":
    sys.exit(main())
