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
from dataclasses import replace
from pathlib import Path

import pytest
from sqlalchemy import Connection, Engine, Row, TextClause, select, text

from neobank import migrations, names, sessions
from neobank.application import create_app
from neobank.audit.verification import unexplained, verify_chain
from neobank.casino.verification import verify_rounds
from neobank.database import connect
from neobank.ledger.models import SYSTEM_ID, Account
from neobank.ledger.operations import Kind
from neobank.ledger.verification import verify
from neobank.players.models import Player
from neobank.players.operations import Credentials, lock_credentials
from neobank.settings import ServingSettings, UpgradeSettings
from tests.service.locks import await_waiting
from tests.service.support import (
    ADMINISTRATOR,
    SECRET_KEY,
    Books,
    Database,
    log_in,
    open_players,
    reset_schema,
    transfer,
)

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
LONG_BLOCKED = text("""
    SELECT EXISTS (
        SELECT FROM pg_locks JOIN pg_stat_activity USING (pid)
        WHERE usename = current_user AND NOT granted AND waitstart < clock_timestamp() - interval '0.5 seconds'
    )
""")
LOCKING = text("""
    SELECT EXISTS (
        SELECT FROM pg_locks JOIN pg_stat_activity USING (pid)
        WHERE usename = current_user AND mode = 'AccessExclusiveLock'
            AND relation IN ('sessions'::regclass, 'accounts'::regclass)
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


@pytest.mark.parametrize("opening_balance", [1, 100_000, 250_000])
def test_a_registration_of_the_previous_image_is_paid_whatever_the_opening_balance(
    engine: Engine, bank_0014: UpgradeSettings, books: Books, opening_balance: int
) -> None:
    """That image pays 100,000 hundredths, and does not know registration_terms."""
    del books
    migrations.upgrade(replace(bank_0014, opening_balance=opening_balance))
    with engine.begin() as connection:
        account = connection.execute(text("SELECT open_account('NC-X', 'X', 'x')")).scalar_one()
        connection.execute(text("INSERT INTO players (account_id, password_hash) VALUES (:id, '')"), {"id": account})
        transfer(connection, SYSTEM_ID, "NC-X", 100_000, Kind.OPENING_BALANCE)


def test_an_upgrade_names_no_privilege_on_a_function_that_it_drops(
    owner: Engine, bank_0014: UpgradeSettings, caplog: pytest.LogCaptureFixture
) -> None:
    """It names those that were granted by hand, also on a view, which it drops and creates again."""
    with owner.begin() as connection:
        connection.execute(text("REVOKE ALL ON ALL FUNCTIONS IN SCHEMA public FROM PUBLIC"))
        connection.execute(text("GRANT EXECUTE ON FUNCTION post_transfer, begin_spin, settle_spin TO neobank"))
        connection.execute(text("GRANT SELECT ON ledger_figures TO neobank_backup"))
        connection.execute(text("GRANT UPDATE (balance) ON balances TO neobank"))
    migrations.upgrade(bank_0014)
    assert [record.getMessage().partition(" from ")[0] for record in caplog.records] == [
        "Revoked UPDATE on balances.balance",
        "Revoked SELECT on ledger_figures",
    ]


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


@pytest.fixture
def in_use(owner: Engine, bank_0014: UpgradeSettings) -> UpgradeSettings:
    """The bank at revision 0014, with the privileges that the statements of these tests need."""
    with owner.begin() as connection:
        connection.execute(text("GRANT SELECT, INSERT, UPDATE ON ALL TABLES IN SCHEMA public TO neobank"))
    return bank_0014


def test_requests_wait_for_an_upgrade_and_do_not_deadlock_with_it(
    owner: Engine, engine: Engine, in_use: UpgradeSettings, books: Books
) -> None:
    """A payment that has begun lets the upgrade wait for its tables, while a request finds its caller."""
    del books
    with engine.begin() as connection:
        trinity, _ = credentials_of(connection, "Trinity")
        number = connection.execute(select(Account.number).where(Account.name == "Neo")).scalar_one()
        token = sessions.begin(connection, trinity, secret_key=SECRET_KEY, device=None)
    finished = threading.Event()

    def call() -> int:
        with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            caller = sessions.find_caller(connection, token, secret_key=SECRET_KEY)
        assert caller is not None
        with engine.begin() as connection:
            transfer(connection, trinity, number, 1)
        return caller.account_id

    def repeat() -> set[int]:
        seen = {call()}
        while not finished.is_set():
            seen.add(call())
        return seen

    with ThreadPoolExecutor(4) as pool:
        try:
            with engine.begin() as paying:
                transfer(paying, trinity, number, 1)
                upgrading = pool.submit(migrations.upgrade, in_use)
                await_true(owner, LOCKING)
                calling = [pool.submit(repeat) for _ in range(3)]
                await_waiting(engine, 3, *calling)
            assert upgrading.result() == migrations.head()
        finally:
            finished.set()
        assert [future.result() for future in calling] == [{trinity}] * 3


def test_an_upgrade_yields_to_a_log_in_that_waits_for_it(
    owner: Engine, engine: Engine, in_use: UpgradeSettings
) -> None:
    """The log-in has locked players and accounts, and waits behind the upgrade for sessions."""
    with ThreadPoolExecutor(2) as pool:
        with engine.begin() as entering:
            trinity, password_hash = credentials_of(entering, "Trinity")
            proven = Credentials(trinity, password_hash, must_change_password=False, used_up=False)
            lock_credentials(entering, proven)
            with engine.begin() as reader:
                reader.execute(select(sessions.Session.id)).all()
                upgrading = pool.submit(migrations.upgrade, in_use)
                await_true(owner, LOCKING)
                begun = pool.submit(sessions.begin, entering, trinity, secret_key=SECRET_KEY, device=None)
                await_waiting(owner, 2, begun)
            assert begun.result()
        assert upgrading.result() == migrations.head()


def test_an_upgrade_that_a_deadlock_ends_is_repeated(owner: Engine, bank_0014: UpgradeSettings) -> None:
    """PostgreSQL looks for a deadlock after a wait of one second: the upgrade, which waited first, notices it."""
    with ThreadPoolExecutor(1) as pool:
        with owner.begin() as reader:
            reader.execute(text("SELECT FROM revealed_seeds"))
            upgrading = pool.submit(migrations.upgrade, bank_0014)
            await_true(owner, LONG_BLOCKED)
            assert reader.execute(FIGURES).one()
        assert upgrading.result() == migrations.head()


def credentials_of(connection: Connection, name: str) -> tuple[int, str]:
    """Return the account id and the password hash of a player of either revision."""
    statement = select(Account.id, Player.password_hash).join(Player, Player.account_id == Account.id)
    account, password_hash = connection.execute(statement.where(Account.name == name)).one()
    return account, password_hash


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
                await_true(owner, BLOCKED)
                with engine.begin() as reader:
                    reader.execute(text("SET LOCAL lock_timeout = '5s'"))
                    assert reader.execute(FIGURES).one()
            assert not upgrading.done()
        assert upgrading.result() == migrations.head()
    slow.dispose()


def await_true(owner: Engine, condition: TextClause) -> None:
    """Wait until a condition about the owner's sessions holds."""
    while True:
        with owner.connect() as connection:
            if connection.execute(condition).scalar_one():
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
