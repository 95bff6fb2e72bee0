"""One-time passwords work once, no new name looks like an existing one, organisers' actions need an audit row."""

from collections.abc import Iterable

from alembic import op
from sqlalchemy import text

from neobank import names
from neobank.migrations import read_sql

revision = "0015"
down_revision = "0014"

definitions = "8dbde925f9c7def9a58b9c942acdb114d1b2b073738cdf9928312350bd5fa790"

# Of accounts that look alike already, the first of this order keeps the skeleton. All of them stay usable.
_ACCOUNTS = text("""
    SELECT id, name FROM accounts LEFT JOIN players ON account_id = id
    ORDER BY account_id IS NOT NULL, is_admin DESC NULLS LAST, id
""")
_FACTIONS = text("SELECT name, name FROM factions ORDER BY created_at, name")
_SET_ACCOUNTS = text("""
    UPDATE accounts SET skeleton = given.skeleton
    FROM unnest(CAST(:keys AS bigint[]), CAST(:skeletons AS text[])) AS given (id, skeleton)
    WHERE accounts.id = given.id
""")
_SET_FACTIONS = text("""
    UPDATE factions SET skeleton = given.skeleton
    FROM unnest(CAST(:keys AS text[]), CAST(:skeletons AS text[])) AS given (name, skeleton)
    WHERE factions.name = given.name
""")


def upgrade() -> None:
    connection = op.get_bind()
    for file in ("sql/0015_locks.sql", "sql/0015_people.sql", "sql/0015_limited_roles.sql"):
        connection.exec_driver_sql(read_sql(file))
    for listed, assigned in ((_ACCOUNTS, _SET_ACCOUNTS), (_FACTIONS, _SET_FACTIONS)):
        connection.execute(assigned, _skeletons(connection.execute(listed).all()))


def _skeletons(named: Iterable[tuple[object, str]]) -> dict[str, list[object]]:
    """Return the key of the first row of each skeleton, and the skeletons."""
    first: dict[str, object] = {}
    for key, name in named:
        first.setdefault(names.skeleton(name), key)
    return {"keys": [*first.values()], "skeletons": [*first]}
