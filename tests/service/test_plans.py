"""What a query reads does not grow with the bank: it is on an index, and touches as many pages of much as of little."""

import json
from collections.abc import Iterator
from dataclasses import dataclass

import pytest
from sqlalchemy import Connection, Engine, event, text

from neobank.ledger.operations import history
from tests.service.support import open_players
from tools.bench.bank import add_history

FEW = 2_000  # rows
MANY = 40_000  # rows

MIDDLE = text("SELECT percentile_disc(0.5) WITHIN GROUP (ORDER BY id) FROM transfers WHERE debit_account_id = :account")


@dataclass(frozen=True)
class Plan:
    """What PostgreSQL did for a query: the tables it read whole, the indexes it used, the pages it touched."""

    scanned: set[str]
    indexes: set[str]
    buffers: int


def explain(connection: Connection, account_id: int, before: int | None) -> Plan:
    """Run the history's own statement under EXPLAIN."""
    said: list[tuple[str, dict[str, object]]] = []

    def listen(_c: object, _cursor: object, statement: str, values: dict[str, object], *_: object) -> None:
        said.append((statement, values))

    event.listen(connection, "before_cursor_execute", listen)
    history(connection, account_id, limit=11, before=before)
    event.remove(connection, "before_cursor_execute", listen)
    [(statement, values)] = said
    explained = connection.exec_driver_sql(f"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) {statement}", values).scalar_one()
    root = (explained if isinstance(explained, list) else json.loads(explained))[0]["Plan"]
    nodes = list(walk(root))
    return Plan(
        {str(node["Relation Name"]) for node in nodes if node["Node Type"] == "Seq Scan"},
        {str(node["Index Name"]) for node in nodes if "Index Name" in node},
        root["Shared Hit Blocks"] + root["Shared Read Blocks"],
    )


def walk(node: dict[str, object]) -> Iterator[dict[str, object]]:
    yield node
    children = node.get("Plans", [])
    assert isinstance(children, list)
    for child in children:
        yield from walk(child)


@pytest.fixture
def players(engine: Engine, fresh: object) -> list[int]:
    del fresh
    with engine.begin() as connection:
        return open_players(connection, 50)


def grow(owner: Engine, rows: int, accounts: list[int]) -> None:
    """Add history, and let PostgreSQL take note; the visibility map is part of what a plan reads."""
    with owner.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        add_history(connection, rows, accounts)
        connection.execute(text("VACUUM (ANALYZE) transfers, accounts, balances"))


@pytest.mark.parametrize("page", ["first", "deep"])
@pytest.mark.parametrize("account", ["busy", "retired"])
def test_a_page_of_history_costs_the_same_with_twenty_times_the_rows(
    engine: Engine, owner: Engine, players: list[int], account: str, page: str
) -> None:
    """Who paid a lot long ago and nothing since looks busy to the planner: walking back to them reads everything."""
    retired, others = players[:2], players[2:]
    account_id = others[7] if account == "busy" else retired[0]
    grow(owner, FEW, retired)
    plans = []
    for rows in (FEW, MANY - FEW):
        grow(owner, rows, others)
        with engine.connect() as connection:
            middle = connection.execute(MIDDLE, {"account": account_id}).scalar_one()
            plans.append(explain(connection, account_id, middle if page == "deep" else None))
    few, many = plans
    assert many.buffers <= few.buffers * 1.2, (few, many)
    for plan in plans:
        assert {"transfers_debit_idx", "transfers_credit_idx"} <= plan.indexes, plan
        assert "transfers" not in plan.scanned, plan
