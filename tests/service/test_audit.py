"""The hash chain of the audit log reveals every change."""

from collections.abc import Callable

import pytest
from sqlalchemy import Engine, text

from neobank.audit.operations import Detail, record
from neobank.audit.verification import Chain, verify_chain

ROWS = 6


@pytest.fixture
def chain(engine: Engine, fresh: object) -> Callable[[], Chain]:
    """Create a chain of some rows; return a function that verifies it."""
    del fresh
    for index in range(ROWS):
        with engine.begin() as connection:
            actor = connection.execute(text("SELECT account_id FROM players WHERE is_admin")).scalar_one()
            details: dict[str, Detail] = {"index": index, "text": "¤ 'quoted', 3:abc,", "nothing": None}
            record(connection, actor=actor, action="test", target="Ünïcode 🏢", details=details)

    def verified() -> Chain:
        with engine.connect() as connection:
            return verify_chain(connection)

    return verified


def third(engine: Engine) -> int:
    with engine.connect() as connection:
        found: int = connection.execute(text("SELECT id FROM audit_logs ORDER BY id OFFSET 2 LIMIT 1")).scalar_one()
    return found


def test_an_unchanged_chain_verifies(chain: Callable[[], Chain], engine: Engine) -> None:
    found = chain()
    assert (found.rows, found.broken_at) == (ROWS, None)
    with engine.connect() as connection:
        head = connection.execute(text("SELECT hash FROM audit_logs ORDER BY id DESC LIMIT 1")).scalar_one()
    assert found.head == bytes(head)


@pytest.mark.parametrize(
    "change",
    [
        "target = 'somebody else'",
        "action = 'tes'",
        "details = '{}'",
        "created_at = created_at + interval '1 microsecond'",
        "actor_id = 9000000000000000001",
        "hash = sha256(hash)",
        "action = 'testÜ', target = 'nïcode 🏢'",
    ],
)
def test_verification_finds_a_changed_row(
    chain: Callable[[], Chain], engine: Engine, owner: Engine, change: str
) -> None:
    row = third(engine)
    with owner.begin() as connection:
        connection.execute(text(f"UPDATE audit_logs SET {change} WHERE id = :id"), {"id": row})  # noqa: S608
    assert chain().broken_at == row


def test_verification_finds_the_row_after_a_deleted_one(
    chain: Callable[[], Chain], engine: Engine, owner: Engine
) -> None:
    row = third(engine)
    with owner.begin() as connection:
        connection.execute(text("DELETE FROM audit_logs WHERE id = :id"), {"id": row})
    broken = chain().broken_at
    assert broken is not None
    assert broken > row


def test_verification_detects_a_moved_row(chain: Callable[[], Chain], engine: Engine, owner: Engine) -> None:
    row = third(engine)
    with owner.begin() as connection:
        connection.execute(
            text(
                "INSERT INTO audit_logs OVERRIDING SYSTEM VALUE SELECT id + 1000000, created_at, actor_id, action,"
                " target, details, hash FROM audit_logs WHERE id = :id"
            ),
            {"id": row},
        )
        connection.execute(text("DELETE FROM audit_logs WHERE id = :id"), {"id": row})
    assert chain().broken_at is not None


def test_rows_deleted_at_the_end_change_the_head(chain: Callable[[], Chain], owner: Engine) -> None:
    noted = chain().head
    with owner.begin() as connection:
        connection.execute(text("DELETE FROM audit_logs WHERE id = (SELECT max(id) FROM audit_logs)"))
    found = chain()
    assert found.broken_at is None
    assert found.head != noted


@pytest.mark.parametrize(
    "statement",
    [
        (
            "INSERT INTO audit_logs (created_at, actor_id, action, target, details, hash)"
            " SELECT created_at, actor_id, action, target, details, hash FROM audit_logs"
        ),
        "UPDATE audit_logs SET action = 'x'",
        "DELETE FROM audit_logs",
        "TRUNCATE audit_logs",
    ],
)
def test_the_serving_role_can_only_append(chain: Callable[[], Chain], engine: Engine, statement: str) -> None:
    with pytest.raises(Exception, match="permission denied"), engine.begin() as connection:
        connection.execute(text(statement))
    assert chain().rows == ROWS


def test_a_rolled_back_action_leaves_no_row(chain: Callable[[], Chain], engine: Engine) -> None:
    with engine.connect() as connection, connection.begin() as transaction:
        actor = connection.execute(text("SELECT account_id FROM players WHERE is_admin")).scalar_one()
        record(connection, actor=actor, action="x", target="x", details={})
        transaction.rollback()
    assert chain().rows == ROWS
