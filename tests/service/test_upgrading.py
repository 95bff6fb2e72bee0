"""An upgrade of a bank in use keeps the books, produces the schema of a new bank, and supports the previous image.

`bank_0014.sql.gz` is a `pg_dump --schema=public --no-owner --no-privileges --inserts` of a bank at revision 0014, which
that version and the one before filled through their HTTP interface: payments, charges, rounds, adjustments, credits,
reversals, imports, a frozen account.
"""

import gzip
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from sqlalchemy import Connection, Engine, Row, select, text

from neobank import migrations, names
from neobank.application import create_app
from neobank.audit.verification import unexplained, verify_chain
from neobank.casino.verification import verify_rounds
from neobank.database import connect
from neobank.ledger.models import Account
from neobank.ledger.verification import verify
from neobank.settings import ServingSettings, UpgradeSettings
from tests.service.support import ADMINISTRATOR, Books, Database, log_in, open_players, reset_schema, transfer

BANK = Path(__file__).with_name("bank_0014.sql.gz")
CALLED = {
    "open_account",
    "set_frozen",
    "may_act",
    "post_payment",
    "post_transfers",
    "record_audit",
    "find_caller",
    "open_casino",
    "look_at_spin",
    "settle_round",
    "rotate_seed",
    "set_daily_loss_limit",
    "exclude_player",
    "set_game",
}
"""The functions that the image of revision 0014 calls."""
REMOVED = {"post_transfer", "begin_spin", "settle_spin", "refuse_to_pay"}
"""The functions of revision 0014 that only images before revision 0013 called."""

COLUMN_NAMES = text("""
    SELECT table_name, string_agg(column_name, ', ' ORDER BY ordinal_position)
    FROM information_schema.columns JOIN pg_tables ON tablename = table_name AND schemaname = table_schema
    WHERE schemaname = 'public' AND tablename <> 'alembic_version' GROUP BY table_name
""")
FUNCTIONS = text("""
    SELECT proname || '(' || pg_get_function_arguments(oid) || ') ' || pg_get_function_result(oid), proname, prosrc,
        prosecdef, provolatile, proconfig
    FROM pg_proc WHERE pronamespace = 'public'::regnamespace
""")
COLUMNS = text("""
    SELECT table_name, column_name, data_type, is_nullable, column_default, is_generated
    FROM information_schema.columns WHERE table_schema = 'public'
""")
INDEXES = text("SELECT tablename, indexname, indexdef FROM pg_indexes WHERE schemaname = 'public'")
CONSTRAINTS = text("""
    SELECT conrelid::regclass::text, conname, pg_get_constraintdef(oid) FROM pg_constraint
    WHERE connamespace = 'public'::regnamespace AND contype <> 'n'
""")
BLOCKED = text("""
    SELECT EXISTS (
        SELECT FROM pg_stat_activity
        WHERE usename = current_user AND wait_event_type = 'Lock' AND wait_event = 'relation'
    )
""")
SKELETONS = text("SELECT name, skeleton FROM accounts")
FIGURES = text("SELECT * FROM ledger_figures")
NUMBERS = select(Account.id, Account.number)
TRIGGERS = text("""
    SELECT tgrelid::regclass::text, pg_get_triggerdef(pg_trigger.oid)
    FROM pg_trigger JOIN pg_class ON pg_class.oid = tgrelid
    WHERE NOT tgisinternal AND relnamespace = 'public'::regnamespace
""")
VIEWS = text("SELECT viewname, definition FROM pg_views WHERE schemaname = 'public'")
EXECUTABLE = text("""
    SELECT proname FROM pg_proc
    WHERE pronamespace = 'public'::regnamespace AND has_function_privilege('neobank', oid, 'EXECUTE')
""")

Schema = Mapping[str, Sequence[Row[*tuple[object, ...]]]]


@pytest.fixture
def bank_0014(database: Database, owner: Engine, upgraded: UpgradeSettings) -> Iterator[UpgradeSettings]:
    """The database of a bank at revision 0014."""
    reset_schema(owner)
    engine = connect(database.url("owner"))
    with engine.begin() as connection:
        connection.exec_driver_sql(gzip.decompress(BANK.read_bytes()).decode())
    engine.dispose()
    yield upgraded
    reset_schema(owner)
    migrations.upgrade(upgraded)


def columns(owner: Engine) -> dict[str, str]:
    """Return the names of the columns of every table."""
    with owner.connect() as connection:
        return dict(connection.execute(COLUMN_NAMES).all())


def rows(owner: Engine, columns: Mapping[str, str]) -> dict[str, list[str]]:
    """Return every row of these columns of these tables as text."""
    with owner.connect() as connection:
        return {
            table: sorted(connection.execute(text(f"SELECT ROW({names})::text FROM {table}")).scalars())  # noqa: S608
            for table, names in columns.items()
        }


def schema(owner: Engine) -> Schema:
    queries = {
        "functions": FUNCTIONS,
        "columns": COLUMNS,
        "indexes": INDEXES,
        "constraints": CONSTRAINTS,
        "triggers": TRIGGERS,
        "views": VIEWS,
    }
    with owner.connect() as connection:
        return {name: sorted(connection.execute(query), key=str) for name, query in queries.items()}


def test_an_upgrade_keeps_the_books_the_audit_log_and_the_rounds(owner: Engine, bank_0014: UpgradeSettings) -> None:
    kept = columns(owner)
    before = rows(owner, kept)
    assert len(before["transfers"]) > 40
    assert len(before["rounds"]) > 20
    assert migrations.upgrade(bank_0014) == migrations.head()
    assert rows(owner, kept) == before
    with owner.connect().execution_options(isolation_level="REPEATABLE READ") as connection, connection.begin():
        assert verify(connection).sound
        assert verify_chain(connection).broken_at is None
        assert unexplained(connection) == []
        assert verify_rounds(connection).problems == []


def test_an_upgraded_bank_has_the_schema_of_a_new_one(owner: Engine, bank_0014: UpgradeSettings) -> None:
    migrations.upgrade(bank_0014)
    upgraded = schema(owner)
    reset_schema(owner)
    migrations.upgrade(bank_0014)
    assert schema(owner) == upgraded


def test_the_previous_image_finds_its_functions_and_columns(owner: Engine, bank_0014: UpgradeSettings) -> None:
    before = schema(owner)
    migrations.upgrade(bank_0014)
    after = schema(owner)
    assert {row[1] for row in before["functions"]} >= CALLED
    # Also those that only other functions call: statements of the previous image run while the upgrade replaces them.
    old, new = ({row[0] for row in found["functions"] if row[1] not in REMOVED} for found in (before, after))
    assert old <= new
    with owner.connect() as connection:
        assert set(connection.execute(EXECUTABLE).scalars()) >= CALLED
    assert set(before["columns"]) <= set(after["columns"])
    tables = {row[0] for row in before["columns"]}
    for table, column, _, nullable, default, generated in set(after["columns"]) - set(before["columns"]):
        assert table not in tables or nullable == "YES" or default or generated == "ALWAYS", (
            f"{table}.{column} has no default, so an INSERT of an older image fails"
        )


def test_an_upgrade_tolerates_names_that_look_alike_and_lets_organisers_keep_theirs(
    owner: Engine, bank_0014: UpgradeSettings
) -> None:
    alike = ["\u041erganiser", "\u0405YSTEM", "Sm1th", "Srn\u0456th"]
    with owner.begin() as connection:
        connection.execute(
            text(
                "INSERT INTO accounts (id, number, name, name_key) SELECT -ordinality, 'NX-' || ordinality, name, name"
                " FROM unnest(CAST(:names AS text[])) WITH ORDINALITY AS given (name)"
            ),
            {"names": alike},
        )
        connection.execute(
            text("INSERT INTO players (account_id, password_hash) SELECT id, '' FROM accounts WHERE id < 0")
        )
    migrations.upgrade(bank_0014)
    with owner.connect() as connection:
        kept: dict[str, str | None] = {it.name: it.skeleton for it in connection.execute(SKELETONS)}
    assert [kept[name] for name in alike] == [None, None, None, names.skeleton("Smith")]
    for name in ("Organiser", "SYSTEM", "CASINO HOUSE", "Neo"):
        assert kept[name] == names.skeleton(name)


def test_players_and_organisers_can_log_in_pay_and_spin_after_an_upgrade(
    bank_0014: UpgradeSettings, settings: ServingSettings
) -> None:
    migrations.upgrade(bank_0014)
    client = create_app(settings).test_client()
    trinity = log_in(client, "Trinity", "password of Trinity")
    balance = trinity.balance()
    neo = trinity.send("GET", "/players/lookup", name="Neo").get_json()["account_number"]
    answer = trinity.pay(neo, 10.25, memo="for call 0", once="call-0")
    assert answer.status_code == 201
    newest = trinity.send("GET", "/account/transactions").get_json()["transactions"][0]
    assert answer.get_json()["transaction"]["id"] < newest["id"], "the payment of the previous version was repeated"
    assert trinity.balance() == balance
    assert trinity.pay(neo, 10.25, memo="for call 0").status_code == 201
    assert trinity.send("POST", "/casino/glitch-grid/spin", bet_amount=10).status_code == 200
    log_in(client, ADMINISTRATOR.name, ADMINISTRATOR.password)


def test_an_upgrade_keeps_frozen_accounts_and_switches(bank_0014: UpgradeSettings, settings: ServingSettings) -> None:
    migrations.upgrade(bank_0014)
    client = create_app(settings).test_client()
    refused = client.post("/api/v1/auth/login", json={"character_name": "Cypher", "password": "password of Cypher"})
    assert refused.status_code == 403
    registration = {"character_name": "Tank", "password": "operator, operator"}
    assert client.post("/api/v1/auth/register", json=registration).status_code == 403
    assert client.post("/api/v1/auth/register", json=registration | {"code": "zion"}).status_code == 201


def test_repeated_upgrades_disturb_no_payment_and_no_reader_of_the_figures(
    database: Database, engine: Engine, fresh: UpgradeSettings, books: Books
) -> None:
    """Each upgrade replaces every function and all grants while other sessions use them."""
    del books
    with engine.begin() as connection:
        first, second = open_players(connection, 2)
        numbers = dict(connection.execute(NUMBERS).all())
    metrics = connect(database.url("metrics"))
    finished = threading.Event()

    def repeat(source: Engine, statement: Callable[[Connection], object]) -> int:
        done = 0
        while not finished.is_set() or done == 0:
            with source.begin() as connection:
                statement(connection)
            done += 1
        return done

    with ThreadPoolExecutor(3) as pool:
        running = [
            pool.submit(repeat, engine, lambda connection: transfer(connection, first, numbers[second], 1)),
            pool.submit(repeat, engine, lambda connection: transfer(connection, second, numbers[first], 1)),
            pool.submit(repeat, metrics, lambda connection: connection.execute(FIGURES).one()),
        ]
        try:
            for _ in range(10):
                migrations.upgrade(fresh)
        finally:
            finished.set()
        assert all(future.result() > 0 for future in running)
    metrics.dispose()


def test_an_upgrade_that_waits_for_a_reader_of_a_view_does_not_block_the_others(
    database: Database, owner: Engine, engine: Engine, bank_0014: UpgradeSettings
) -> None:
    """As `pg_dump` does, the first reader keeps its lock; the service's own sessions wait five seconds for theirs."""
    with owner.begin() as connection:
        connection.execute(text("GRANT SELECT ON ledger_figures TO neobank, neobank_metrics"))
    slow = connect(database.url("metrics"))
    with ThreadPoolExecutor(1) as pool:
        with slow.begin() as connection:
            connection.execute(FIGURES).one()
            upgrading = pool.submit(migrations.upgrade, bank_0014)
            for _ in range(2):
                await_blocked(owner)
                with engine.begin() as reader:
                    reader.execute(text("SET LOCAL lock_timeout = '5s'"))
                    assert reader.execute(FIGURES).one()
            assert not upgrading.done()
        assert upgrading.result() == migrations.head()
    slow.dispose()


def await_blocked(owner: Engine) -> None:
    """Wait until a session of the owner waits for the lock of a view."""
    while True:
        with owner.connect() as connection:
            if connection.execute(BLOCKED).scalar_one():
                return
        time.sleep(0.01)


def test_a_rerun_does_not_wait_for_a_reader_of_the_figures(
    database: Database, owner: Engine, fresh: UpgradeSettings
) -> None:
    engine = connect(database.url("metrics"))
    with engine.begin() as connection:
        connection.execute(FIGURES).one()
        with owner.begin() as waiting:
            waiting.execute(text("ALTER ROLE CURRENT_USER SET lock_timeout TO '5s'"))
        try:
            assert migrations.upgrade(fresh) == migrations.head()
        finally:
            with owner.begin() as waiting:
                waiting.execute(text("ALTER ROLE CURRENT_USER RESET lock_timeout"))
    engine.dispose()
