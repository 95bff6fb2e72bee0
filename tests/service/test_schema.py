"""The models match the schema that the migrations create, and each role has the listed privileges only."""

import subprocess
import sys
from collections import defaultdict
from dataclasses import replace
from importlib.resources import files

import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Engine, text
from sqlalchemy.exc import DBAPIError

from neobank import migrations
from neobank.database import Base, connect
from neobank.ledger.models import HOUSE_ID
from neobank.players import passwords
from neobank.players.operations import authenticate, find_credentials
from neobank.settings import Administrator, UpgradeSettings
from tests.service.support import Database, LoggedIn, NewTerminal, log_in, reset_schema

ALLOWED = {
    "neobank": {
        "alembic_version": {"SELECT"},
        "registration_terms": {"SELECT"},
        "accounts": {"SELECT"},
        "balances": {"SELECT"},
        "transfers": {"SELECT"},
        "ledger_figures": {"SELECT"},
        "players": {"SELECT", "INSERT", "UPDATE"},
        "idempotency_records": {"SELECT", "INSERT", "UPDATE", "DELETE"},
        "pictures": {"SELECT", "INSERT", "UPDATE", "DELETE"},
        "sessions": {"SELECT", "INSERT", "UPDATE", "DELETE"},
        "factions": {"SELECT", "INSERT"},
        "reversals": {"SELECT", "INSERT"},
        "switches": {"SELECT", "UPDATE"},
        "rate_limit_counters": {"SELECT", "INSERT", "UPDATE", "DELETE"},
        "find_caller": {"EXECUTE"},
        "may_act": {"EXECUTE"},
        "open_account": {"EXECUTE"},
        "post_payment": {"EXECUTE"},
        "post_transfers": {"EXECUTE"},
        "set_frozen": {"EXECUTE"},
        "audit_logs": {"SELECT"},
        "record_audit": {"EXECUTE"},
        "explains": {"EXECUTE"},
        "api_keys": {"SELECT", "INSERT"},
        "api_keys.revoked_at": {"UPDATE"},
        "games": {"SELECT"},
        "dial_versions": {"SELECT"},
        "casino_players": {"SELECT"},
        "free_spins": {"SELECT"},
        "rounds": {"SELECT"},
        "revealed_seeds": {"SELECT"},
        "seeds.id": {"SELECT"},
        "seeds.account_id": {"SELECT"},
        "seeds.commitment": {"SELECT"},
        "seeds.client_seed": {"SELECT"},
        "seeds.rounds": {"SELECT"},
        "seeds.created_at": {"SELECT"},
        "seeds.retired_at": {"SELECT"},
        "open_casino": {"EXECUTE"},
        "look_at_spin": {"EXECUTE"},
        "settle_round": {"EXECUTE"},
        "rotate_seed": {"EXECUTE"},
        "set_daily_loss_limit": {"EXECUTE"},
        "exclude_player": {"EXECUTE"},
        "set_game": {"EXECUTE"},
        "charges": {"SELECT", "INSERT", "DELETE"},
        "charges.status": {"UPDATE"},
        "charges.transfer_id": {"UPDATE"},
        "charges.refund_transfer_id": {"UPDATE"},
    },
    "neobank_metrics": {"ledger_figures": {"SELECT"}},
}

RELEASED = {"0014": "b1d3bb12163183cd77c5cd34eb3b0ca1eee1be816f38cc96cdb9606c6a3d3716"}
"""The digests that released revisions record. Add the newest revision when it is released."""

PRIVILEGES = text("""
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
    WHERE acl.grantee <> 'neobank_owner'::regrole
""")


def test_the_models_match_the_migrated_schema(owner: Engine) -> None:
    with owner.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_server_default": False})
        assert compare_metadata(context, Base.metadata) == []


def test_a_changed_function_view_or_grant_has_a_new_revision() -> None:
    """The newest revision records the digest of functions/, views/ and grants.sql."""
    assert migrations.recorded_digest() == migrations.definitions_digest()


def test_the_digest_of_a_released_revision_is_never_edited() -> None:
    """Otherwise two images of the same revision could have different functions."""
    recorded = {
        script.revision: script.module.definitions
        for script in ScriptDirectory(str(files("neobank.migrations"))).walk_revisions()
        if hasattr(script.module, "definitions")
    }
    unreleased = set(recorded) - set(RELEASED)
    assert unreleased <= {migrations.head()}
    assert {revision: recorded[revision] for revision in RELEASED} == RELEASED


@pytest.mark.parametrize("changed", ["SELECT 'a  b'", "SELECT 'ab'", "SELECT 'a --b'", "SELECT 'a b' -- x"])
def test_the_digest_notices_a_change_within_a_line(changed: str) -> None:
    """It ignores only comment lines and indentation."""
    original = migrations.digest("SELECT 'a b'\n")
    assert migrations.digest(changed) != original
    assert migrations.digest("-- A comment.\n\n    SELECT 'a b'") == original


def test_each_role_has_the_listed_privileges_only(owner: Engine) -> None:
    found: dict[str, dict[str, set[str]]] = defaultdict(lambda: defaultdict(set))
    with owner.connect() as connection:
        for role, name, privilege in connection.execute(PRIVILEGES):
            found[role][name].add(privilege)
    assert found == ALLOWED


MANUAL = {
    "GRANT DELETE ON transfers TO neobank": "Revoked DELETE on transfers from neobank",
    "GRANT UPDATE ON balances TO neobank_0": "Revoked UPDATE on balances from neobank_0",
    "GRANT UPDATE (balance) ON balances TO neobank_1": "Revoked UPDATE on balances.balance from neobank_1",
    "GRANT INSERT ON transfers TO neobank_backup": "Revoked INSERT on transfers from neobank_backup",
    "GRANT USAGE ON SEQUENCE seeds_id_seq TO neobank_metrics": "Revoked USAGE on seeds_id_seq from neobank_metrics",
    "GRANT EXECUTE ON FUNCTION credit_account TO PUBLIC": "Revoked EXECUTE on credit_account from PUBLIC",
    "GRANT SELECT ON seeds TO neobank WITH GRANT OPTION": "Revoked SELECT on seeds from neobank",
}


@pytest.mark.parametrize(("grant", "message"), MANUAL.items(), ids=str)
def test_an_upgrade_revokes_and_names_a_manual_grant(
    owner: Engine, fresh: UpgradeSettings, caplog: pytest.LogCaptureFixture, grant: str, message: str
) -> None:
    with owner.begin() as connection:
        connection.execute(text(grant))
    migrations.upgrade(fresh)
    test_each_role_has_the_listed_privileges_only(owner)
    assert [record.getMessage() for record in caplog.records] == [
        f"{message}: grants.sql does not list this privilege."
    ]


def test_an_upgrade_names_no_privilege_that_it_keeps(fresh: UpgradeSettings, caplog: pytest.LogCaptureFixture) -> None:
    migrations.upgrade(fresh)
    assert caplog.records == []


def test_the_metrics_role_can_read_figures_and_no_account(database: Database, fresh: UpgradeSettings) -> None:
    engine = connect(database.url("metrics"))
    with engine.connect() as connection:
        figures = connection.execute(text("SELECT money_supply, house_balance, total FROM ledger_figures")).one()
        assert figures == (100_000, fresh.house_bankroll, 0)
        with pytest.raises(DBAPIError, match="permission denied"):
            connection.execute(text("SELECT name FROM accounts"))
    engine.dispose()


def test_concurrent_upgrades_of_an_empty_database_all_succeed(database: Database, owner: Engine) -> None:
    reset_schema(owner)
    command = [sys.executable, "-m", "neobank.cli", "db", "upgrade"]
    environment = {"DATABASE_OWNER_URL": database.setting("owner")}
    running = [
        subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) for _ in range(5)
    ]
    outputs = [process.communicate(timeout=120)[0].decode() for process in running]
    assert [process.returncode for process in running] == [0] * 5, outputs
    with owner.connect() as connection:
        funded = connection.execute(
            text("SELECT count(*) FROM transfers WHERE credit_account_id = :house"), {"house": HOUSE_ID}
        )
        assert funded.scalar_one() == 1


def test_a_failed_upgrade_changes_nothing(owner: Engine, fresh: UpgradeSettings) -> None:
    """An existing table makes the second migration fail; the first one is rolled back as well."""
    reset_schema(owner)
    with owner.begin() as connection:
        connection.execute(text("CREATE TABLE sessions ()"))
    cause = r'\b0002 .*relation "sessions" already exists'
    with pytest.raises(migrations.MigrationFailed, match=cause):
        migrations.upgrade(fresh)
    with owner.begin() as connection:
        tables = connection.execute(text("SELECT tablename FROM pg_tables WHERE schemaname = 'public'"))
        assert tables.scalars().all() == ["sessions"]
        connection.execute(text("DROP TABLE sessions"))
    migrations.upgrade(fresh)


def test_an_upgrade_does_not_change_a_newer_schema(owner: Engine, fresh: UpgradeSettings) -> None:
    with owner.begin() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    try:
        assert migrations.upgrade(fresh) == "9999"
    finally:
        with owner.begin() as connection:
            connection.execute(text("UPDATE alembic_version SET version_num = :head"), {"head": migrations.head()})


def password_works(engine: Engine, name: str, password: str) -> bool:
    with engine.connect() as connection:
        found = find_credentials(connection, name)
    try:
        authenticate(found, password)
    except Exception:  # noqa: BLE001  # any exception is a rejection
        return False
    return True


def test_an_upgrade_sets_the_administrator_s_password_only_if_the_setting_changed(
    engine: Engine, owner: Engine, fresh: UpgradeSettings
) -> None:
    assert fresh.administrator is not None
    name, given = fresh.administrator.name, fresh.administrator.password
    assert password_works(engine, name, given)
    with owner.begin() as connection:
        changed = passwords.hash_password("my own password")
        connection.execute(text("UPDATE players SET password_hash = :changed"), {"changed": changed})
    migrations.upgrade(fresh)
    assert password_works(engine, name, "my own password")
    migrations.upgrade(replace(fresh, administrator=Administrator(name, "a new password")))
    assert password_works(engine, name, "a new password")
    assert not password_works(engine, name, "my own password")


def test_a_new_administrator_s_password_ends_what_the_old_one_opened(
    organiser: LoggedIn, terminal: NewTerminal, owner: Engine, fresh: UpgradeSettings
) -> None:
    """It is no one-time password, even if an organiser had set one."""
    assert fresh.administrator is not None
    name = fresh.administrator.name
    debit, charge = (terminal(scope=scope, account=organiser.number) for scope in ("debit", "charge"))
    with owner.begin() as connection:
        connection.execute(text("UPDATE players SET must_change_password = true"))
    migrations.upgrade(replace(fresh, administrator=Administrator(name, "a new password")))
    assert organiser.send("GET", "/account").status_code == 401
    balance = f"/account/{organiser.number}/balance"
    assert [key.send("GET", balance).status_code for key in (debit, charge)] == [401, 200]
    for _ in range(2):
        assert log_in(organiser.client, name, "a new password").send("GET", "/account").status_code == 200
