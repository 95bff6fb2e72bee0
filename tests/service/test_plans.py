"""Queries use indexes, and the number of pages that they read does not grow with the tables."""

from collections.abc import Mapping
from dataclasses import dataclass

import pytest
from flask import Flask
from sqlalchemy import Engine, text

from neobank.ledger.operations import history
from neobank.vendors.charges import MAX_LISTED
from tests.service.gambling import GLITCH, played
from tests.service.growth import GROWING, grow
from tests.service.plans import Plan, explain
from tests.service.statements import recorded
from tests.service.support import Join, LoggedIn, NewTerminal, bank_of, open_players
from tools.bench.bank import add_history

MIDDLE = text("SELECT percentile_disc(0.5) WITHIN GROUP (ORDER BY id) FROM transfers WHERE debit_account_id = :account")

MORE_CHARGES = text("""
    INSERT INTO charges (code, account_id, player_id, amount, memo, expires_at)
    SELECT format('C%s', i), account_id, player_id, amount, memo, expires_at
    FROM charges, generate_series(1, :more) AS i WHERE id = :id
""")

A_PICTURE = text("INSERT INTO pictures (account_id, token, image) SELECT min(account_id), 'a-picture', '' FROM players")

WHOLE = {
    "admin_bank.get_factions": "sums the balances of each faction",
    "admin_bank.get_stats": "sums all balances",
    "admin_lists.get_export": "returns all players",
    "directory.get_factions": "counts the members of each faction",
}
"""Routes that need whole tables."""

CONSTANT = {"casino.get_sheet", "docs.get_file", "docs.get_page", "docs.get_start", "health.live", "health.ready"} | {
    "openapi.spec",
    "status.get_status",
}
"""Routes that read no growing table."""

BOUNDED = {
    "account.get_account": "/api/v1/account",
    "limits.get_limits": "/api/v1/account/limits",
    "sessions.get_sessions": "/api/v1/account/sessions",
    "payments.get_transactions": "/api/v1/account/transactions?limit=100",
    "payments.get_search": "/api/v1/account/transactions/search?q=ago&limit=100",
    "directory.get_player": "/api/v1/players/lookup?name=trinity",
    "charges.get_charges": "/api/v1/charges",
    "charges.get_charge": "/api/v1/charges/{code}",
    "pictures.get_picture": "/api/v1/pictures/{picture}",
    "casino.get_games": "/api/v1/casino/games",
    "casino.get_rounds": "/api/v1/casino/rounds?limit=100",
    "casino.get_round": "/api/v1/casino/rounds/{round}",
    "casino.get_seed": "/api/v1/casino/seed",
    "external.get_balance": "/api/v1/external/account/{trinity}/balance",
    "external.get_charge": "/api/v1/external/charges/{charge}",
    "api_keys.get_keys": "/api/admin/api-keys",
    "admin_bank.get_audit_logs": "/api/admin/audit-logs?limit=100&offset=0",
    "admin_bank.get_switches": "/api/admin/switches",
    "admin_casino.get_config": "/api/admin/casino/config",
    "admin_money.get_transactions": "/api/admin/transactions?limit=100&offset=0",
    "admin_users.get_search": "/api/admin/users/search?q=trin",
    "admin_users.get_user": "/api/admin/users/{trinity}",
}
"""Routes that read a limited number of rows, the caller's own rows, or a named row. Trinity's own rows do not grow."""


INDEX_LEVELS = 3
"""Pages that a route may read because an index of a larger table has one more level; a scan would read hundreds."""


@dataclass(frozen=True)
class Readers:
    """The callers, and the values of the paths."""

    app: Flask
    owner: Engine
    engine: Engine
    headers: dict[str, dict[str, str]]
    named: dict[str, object]
    pair: tuple[int, int]

    def plans(self) -> dict[str, Plan]:
        """Return the plan of each bounded route."""
        return {endpoint: self.plan(path) for endpoint, path in BOUNDED.items()}

    def plan(self, path: str) -> Plan:
        """Request a path, and explain the statements that the response needed."""
        by = "organiser" if path.startswith("/api/admin") else "terminal" if "/external/" in path else "neo"
        with recorded(bank_of(self.app).engine) as sent:
            answer = self.app.test_client().get(path.format(**self.named), headers=self.headers[by])
        assert answer.status_code == 200, (path, answer.text)
        with self.engine.connect() as connection:
            return explain(connection, sent)


@pytest.fixture
def readers(
    app: Flask,
    engine: Engine,
    owner: Engine,
    player: Join,
    organiser: LoggedIn,
    terminal: NewTerminal,
) -> Readers:
    neo, trinity = player("Neo"), player("Trinity")
    till = terminal(account=trinity.number, scope="debit")
    charge = till.send("POST", "/charges", amount=1, player=neo.number).get_json()
    round_id = played(neo, GLITCH, 10)["round"]
    with engine.begin() as connection:
        busy = connection.execute(text("SELECT id FROM accounts WHERE number = :it"), {"it": neo.number}).scalar_one()
        [other] = open_players(connection, 1)
    with owner.begin() as connection:
        connection.execute(MORE_CHARGES, {"id": charge["id"], "more": MAX_LISTED - 1})
        connection.execute(A_PICTURE)
    headers = {"neo": neo.headers, "organiser": organiser.headers, "terminal": {"X-API-Key": till.key}}
    with owner.begin() as connection:
        # Otherwise a request updates its session after a minute, and the old version of the row is one more page.
        connection.execute(text("UPDATE sessions SET last_seen_at = now() + interval '1 day'"))
    named = {
        "code": charge["code"],
        "charge": charge["id"],
        "round": round_id,
        "trinity": trinity.number,
        "picture": "a-picture",
    }
    return Readers(app, owner, engine, headers, named, (busy, other))


def test_the_tables_contain_every_get_route(app: Flask) -> None:
    read = {rule.endpoint for rule in app.url_map.iter_rules() if rule.methods and "GET" in rule.methods}
    assert read == set(BOUNDED) | set(WHOLE) | CONSTANT


def test_a_bounded_route_reads_no_more_pages_of_a_twenty_times_larger_bank(readers: Readers) -> None:
    plans = []
    for first, last in ((1, 2_000), (2_001, 40_000)):
        grow(readers.owner, first, last, readers.pair)
        plans.append(readers.plans())
    assert_the_same(*plans)


@pytest.mark.soak
@pytest.mark.timeout(7200)
def test_a_bounded_route_reads_no_more_pages_of_a_hundred_times_longer_history(readers: Readers) -> None:
    grow(readers.owner, 1, 10_000, readers.pair)
    before = readers.plans()
    add_transfers(readers.owner, 990_000, [*readers.pair])
    assert_the_same(before, readers.plans())


def assert_the_same(small: Mapping[str, Plan], large: Mapping[str, Plan]) -> None:
    """Assert that each route reads at most a fifth more pages, besides index levels, and scans no growing table."""
    grown = {it: (small[it], large[it]) for it in BOUNDED if large[it].buffers > small[it].buffers * 1.2 + INDEX_LEVELS}
    assert not grown, "\n".join(f"{it}: {both}" for it, both in grown.items())
    scanned = {it: plan.scanned & GROWING for it, plan in large.items() if plan.scanned & GROWING}
    assert not scanned


@pytest.fixture
def players(engine: Engine, fresh: object) -> list[int]:
    del fresh
    with engine.begin() as connection:
        return open_players(connection, 50)


def add_transfers(owner: Engine, rows: int, accounts: list[int]) -> None:
    """Add transfers and run VACUUM ANALYZE, because plans depend on statistics and the visibility map."""
    with owner.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        add_history(connection, rows, accounts)
        connection.execute(text("VACUUM (ANALYZE) transfers, accounts, balances"))


def plan_of_history(engine: Engine, account_id: int, page: str) -> Plan:
    with engine.connect() as connection:
        middle = connection.execute(MIDDLE, {"account": account_id}).scalar_one()
        with recorded(connection) as sent:
            history(connection, account_id, limit=11, before=middle if page == "deep" else None)
        return explain(connection, sent)


@pytest.mark.parametrize("page", ["first", "deep"])
@pytest.mark.parametrize("account", ["busy", "retired"])
@pytest.mark.parametrize(
    ("few", "many"),
    [
        (2_000, 40_000),
        pytest.param(10_000, 1_000_000, marks=[pytest.mark.soak, pytest.mark.timeout(7200)]),
    ],
)
def test_a_page_of_history_reads_no_more_pages_with_many_more_rows(
    engine: Engine, owner: Engine, players: list[int], account: str, page: str, few: int, many: int
) -> None:
    """The planner takes an account with old payments only for a busy one; a backward scan would read all rows."""
    retired, others = players[:2], players[2:]
    account_id = others[7] if account == "busy" else retired[0]
    add_transfers(owner, few, retired)
    plans = []
    for rows in (few, many - few):
        add_transfers(owner, rows, others)
        plans.append(plan_of_history(engine, account_id, page))
    small, large = plans
    assert large.buffers <= small.buffers * 1.2, (small, large)
    for plan in plans:
        assert {"transfers_debit_idx", "transfers_credit_idx"} <= plan.indexes, plan
        assert "transfers" not in plan.scanned, plan
