"""An upgrade of a bank in use: the books stay, the schema becomes that of a new bank, and the image before still works.

`bank_0013.sql.gz` is a `pg_dump --schema=public --no-owner --no-privileges --inserts` of a bank at revision 0013, which
that version filled through its HTTP interface: payments, charges, rounds, a reversal, an import, a frozen account.
"""

import gzip
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import pytest
from flask.testing import FlaskClient
from sqlalchemy import Engine, Row, text

from neobank import migrations
from neobank.application import create_app
from neobank.audit.verification import verify_chain
from neobank.casino.verification import verify_rounds
from neobank.database import connect
from neobank.ledger.verification import verify
from neobank.settings import ServingSettings, UpgradeSettings
from tests.service.support import Database, reset_schema

BANK = Path(__file__).with_name("bank_0013.sql.gz")
CALLED = {
    "open_account",
    "set_frozen",
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
"""The functions that the image of revision 0013 calls."""

TABLES = text("SELECT tablename FROM pg_tables WHERE schemaname = 'public' AND tablename <> 'alembic_version'")
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
VIEWS = text("SELECT viewname, definition FROM pg_views WHERE schemaname = 'public'")
EXECUTABLE = text("""
    SELECT proname FROM pg_proc
    WHERE pronamespace = 'public'::regnamespace AND has_function_privilege('neobank', oid, 'EXECUTE')
""")

Schema = Mapping[str, Sequence[Row[*tuple[object, ...]]]]


@pytest.fixture
def landed(database: Database, owner: Engine, upgraded: UpgradeSettings) -> Iterator[UpgradeSettings]:
    """The database of a bank at revision 0013."""
    reset_schema(owner)
    engine = connect(database.url("owner"))
    with engine.begin() as connection:
        connection.exec_driver_sql(gzip.decompress(BANK.read_bytes()).decode())
    engine.dispose()
    yield upgraded
    reset_schema(owner)
    migrations.upgrade(upgraded)


def rows(owner: Engine) -> dict[str, list[str]]:
    """Return every row of every table as text."""
    with owner.connect() as connection:
        tables = connection.execute(TABLES).scalars().all()
        return {
            table: sorted(connection.execute(text(f"SELECT {table}::text FROM {table}")).scalars())  # noqa: S608
            for table in tables
        }


def schema(owner: Engine) -> Schema:
    queries = {
        "functions": FUNCTIONS,
        "columns": COLUMNS,
        "indexes": INDEXES,
        "constraints": CONSTRAINTS,
        "views": VIEWS,
    }
    with owner.connect() as connection:
        return {name: sorted(connection.execute(query), key=str) for name, query in queries.items()}


def test_the_books_the_audit_and_the_rounds_are_kept(owner: Engine, landed: UpgradeSettings) -> None:
    before = rows(owner)
    assert len(before["transfers"]) > 40
    assert len(before["rounds"]) > 20
    assert migrations.upgrade(landed) == migrations.head()
    assert rows(owner) == before
    with owner.connect().execution_options(isolation_level="REPEATABLE READ") as connection, connection.begin():
        assert verify(connection).sound
        assert verify_chain(connection).broken_at is None
        assert verify_rounds(connection).problems == []


def test_an_upgraded_bank_has_the_schema_of_a_new_one(owner: Engine, landed: UpgradeSettings) -> None:
    migrations.upgrade(landed)
    upgraded = schema(owner)
    reset_schema(owner)
    migrations.upgrade(landed)
    assert schema(owner) == upgraded


def test_the_image_before_finds_each_function_and_column_that_it_uses(owner: Engine, landed: UpgradeSettings) -> None:
    before = schema(owner)
    migrations.upgrade(landed)
    after = schema(owner)
    old, new = ({row[0] for row in found["functions"] if row[1] in CALLED} for found in (before, after))
    assert len(old) == len(CALLED)
    assert old <= new
    with owner.connect() as connection:
        assert set(connection.execute(EXECUTABLE).scalars()) >= CALLED
    assert set(before["columns"]) <= set(after["columns"])
    for table, column, _, nullable, default, generated in set(after["columns"]) - set(before["columns"]):
        assert nullable == "YES" or default or generated == "ALWAYS", f"{table}.{column} stops an older image's INSERT"


def test_players_and_organisers_carry_on(landed: UpgradeSettings, settings: ServingSettings) -> None:
    migrations.upgrade(landed)
    client = create_app(settings).test_client()
    headers = log_in(client, "Trinity", "password of Trinity")
    account = client.get("/api/v1/account", headers=headers).get_json()["account"]
    paid = {"to_account": number_of(client, headers, "Neo"), "amount": 10.25, "memo": "for call 0"}
    keyed = headers | {"Idempotency-Key": "call-0"}
    answer = client.post("/api/v1/transactions", json=paid, headers=keyed)
    assert answer.status_code == 201
    newest = client.get("/api/v1/account/transactions", headers=headers).get_json()["transactions"][0]
    assert answer.get_json()["transaction"]["id"] < newest["id"], "the old version's payment was made again"
    assert client.get("/api/v1/account", headers=headers).get_json()["account"]["balance"] == account["balance"]
    assert client.post("/api/v1/transactions", json=paid, headers=headers).status_code == 201
    spin = client.post("/api/v1/casino/glitch-grid/spin", json={"bet_amount": 10}, headers=headers)
    assert spin.status_code == 200
    log_in(client, "Organiser", "correct horse battery")


def test_what_was_frozen_and_switched_stays_so(landed: UpgradeSettings, settings: ServingSettings) -> None:
    migrations.upgrade(landed)
    client = create_app(settings).test_client()
    refused = client.post("/api/v1/auth/login", json={"character_name": "Cypher", "password": "password of Cypher"})
    assert refused.status_code == 403
    joining = {"character_name": "Tank", "password": "operator, operator"}
    assert client.post("/api/v1/auth/register", json=joining).status_code == 403
    assert client.post("/api/v1/auth/register", json=joining | {"code": "zion"}).status_code == 201


def log_in(client: FlaskClient, name: str, password: str) -> dict[str, str]:
    answer = client.post("/api/v1/auth/login", json={"character_name": name, "password": password})
    assert answer.status_code == 200, answer.text
    return {"Authorization": f"Bearer {answer.get_json()['access_token']}"}


def number_of(client: FlaskClient, headers: dict[str, str], name: str) -> str:
    found = client.get("/api/v1/players/lookup", query_string={"name": name}, headers=headers)
    number: str = found.get_json()["account_number"]
    return number
