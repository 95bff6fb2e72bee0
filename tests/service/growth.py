"""Fill the tables with as many rows as years of use create, so that query plans can be compared."""

from sqlalchemy import Engine, text

from tools.bench.bank import add_history

GROWING = frozenset(
    {
        "accounts",
        "api_keys",
        "audit_logs",
        "balances",
        "charges",
        "free_spins",
        "pictures",
        "players",
        "rounds",
        "seeds",
        "sessions",
        "transfers",
    }
)

PLAYERS = text("""
    WITH made AS (
        INSERT INTO accounts (number, name, name_key)
        SELECT format('NX-%s', lpad(i::text, 8, '0')), format('Extra %s', i), format('extra %s', i)
        FROM generate_series(:first, :last) AS i RETURNING id
    ), held AS (
        INSERT INTO balances (account_id, shard, floor) SELECT id, 0, 0 FROM made
    ), waiting AS (
        INSERT INTO free_spins (account_id, game, remaining, line_bet, version_id, dial, sheet)
        SELECT id, 'starlight_smuggler', 1, 500, 1, 10000, '0' FROM made
    ), registered AS (
        INSERT INTO players (account_id, password_hash) SELECT id, 'none' FROM made
    ), pictured AS (
        INSERT INTO pictures (account_id, token, image) SELECT id, md5(id::text), '' FROM made
    ), seeded AS (
        INSERT INTO seeds (account_id, server_seed) SELECT id, sha256(id::text::bytea) FROM made
    )
    INSERT INTO sessions (token_hash, account_id, expires_at)
    SELECT sha256(id::text::bytea), id, now() + interval '1 day' FROM made
""")
BUSY = {
    "audit_logs": text("""
        INSERT INTO audit_logs (created_at, actor_id, action, target, details, hash)
        SELECT now(), :account, 'freeze', 'NX-00000001', '{}', sha256(i::text::bytea)
        FROM generate_series(:first, :last) AS i
    """),
    "revoked keys": text("""
        INSERT INTO api_keys (key_hash, prefix, description, scope, account_id, created_by, revoked_at)
        SELECT sha256(i::text::bytea), 'nb', 'bar', 'charge', :account, :account, now()
        FROM generate_series(:first, :last) AS i
    """),
    "expired charges": text("""
        INSERT INTO charges (code, account_id, player_id, amount, memo, expires_at)
        SELECT format('X%s', i), :other, :account, 1, '', now() - interval '1 minute'
        FROM generate_series(:first, :last) AS i
    """),
    "rounds": text("""
        INSERT INTO rounds (account_id, seed_id, nonce, game, version_id, dial, sheet, loose, stops, free, line_bet,
            bet, win, awarded, created_at)
        SELECT account_id, seed_id, i, game, version_id, dial, sheet, loose, stops, free, line_bet, bet, win, awarded,
            created_at
        FROM rounds, generate_series(:first, :last) AS i WHERE account_id = :account AND nonce = 0
    """),
}
"""Rows that one player, who has played a round, and the organisers create."""


def grow(owner: Engine, first: int, last: int, pair: tuple[int, int]) -> None:
    """Add rows `first` to `last` to each table and as many transfers between two accounts; then run VACUUM ANALYZE."""
    values = {"first": first, "last": last, "account": pair[0], "other": pair[1]}
    with owner.begin() as connection:
        for statement in (PLAYERS, *BUSY.values()):
            connection.execute(statement, {name: values[name] for name in statement.compile().params})
        add_history(connection, last - first + 1, list(pair))
    with owner.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(text(f"VACUUM (ANALYZE) {', '.join(sorted(GROWING))}"))
