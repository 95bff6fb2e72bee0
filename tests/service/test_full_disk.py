"""While PostgreSQL's disk is full, players can read, and a request that would record something gets a 503.

Triggers raise PostgreSQL's error here. tests/tools/test_run.py fills a real disk.
"""

import pytest
from flask.testing import FlaskClient
from sqlalchemy import Engine, text

from tests.service.support import Books, Database, Join

CREATE = """
    CREATE FUNCTION refuse_without_space() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        RAISE EXCEPTION 'could not extend file: No space left on device' USING ERRCODE = 'disk_full';
    END $$;
    CREATE TRIGGER full_transfers BEFORE INSERT ON transfers EXECUTE FUNCTION refuse_without_space();
    CREATE TRIGGER full_sessions BEFORE UPDATE ON sessions EXECUTE FUNCTION refuse_without_space();
"""
REMOVE = "DROP FUNCTION refuse_without_space() CASCADE"


def test_reads_go_on_and_payments_are_rejected_until_there_is_space(player: Join, owner: Engine, books: Books) -> None:
    neo, trinity = player("Neo"), player("Trinity")
    with owner.begin() as connection:
        connection.execute(text("UPDATE sessions SET last_seen_at = now() - interval '1 hour'"))
        connection.execute(text(CREATE))
    try:
        for path in ("/account", "/account/transactions", "/account/sessions"):
            assert neo.send("GET", path).status_code == 200
        refused = neo.pay(trinity.number, 1, once="a")
    finally:
        with owner.begin() as connection:
            connection.execute(text(REMOVE))
    assert refused.status_code == 503
    assert "disk" in refused.get_json()["error"]
    assert int(refused.headers["Retry-After"]) > 0
    books()
    assert neo.pay(trinity.number, 1, once="a").status_code == 201
    books()


def test_a_database_without_its_files_is_not_ready(database: Database, client: FlaskClient, owner: Engine) -> None:
    if database.embedded is None:
        pytest.skip("NEOBANK_TEST_DATABASE_URL names a server whose files the tests can't reach")
    with owner.connect() as connection:
        path = connection.execute(text("SELECT pg_relation_filepath('alembic_version')")).scalar_one()
    [file] = database.embedded.volume.glob(f"*/{path}")
    assert client.get("/health/ready").status_code == 200
    away = file.rename(file.with_suffix(".away"))
    try:
        assert client.get("/health/ready").status_code == 503
    finally:
        away.rename(file)
    assert client.get("/health/ready").status_code == 200
