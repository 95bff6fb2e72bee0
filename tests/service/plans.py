"""Query plans of the statements that the application sends."""

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from sqlalchemy import Connection

from tests.service.statements import Statement

RUNS = 8
"""PL/pgSQL plans the statements of a function at each of its first five calls in a session."""


@dataclass(frozen=True)
class Plan:
    """The tables read by a sequential scan, the indexes used, and the number of pages read."""

    scanned: set[str]
    indexes: set[str]
    buffers: int


def explain(connection: Connection, sent: Iterable[Statement]) -> Plan:
    """Run statements under EXPLAIN; return the sum of their plans.

    Each runs several times, and the fewest pages count: planning a statement of a function reads pages of the
    catalogue, which depends on what the session did before.
    """
    whole = Plan(set(), set(), 0)
    for statement in sent:
        explained = f"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) {statement.text}"
        output = [connection.exec_driver_sql(explained, statement.values).scalar_one() for _ in range(RUNS)]
        roots = [(it if isinstance(it, list) else json.loads(it))[0]["Plan"] for it in output]
        nodes = list(_walk(roots[-1]))
        whole = Plan(
            whole.scanned | {str(node["Relation Name"]) for node in nodes if node["Node Type"] == "Seq Scan"},
            whole.indexes | {str(node["Index Name"]) for node in nodes if "Index Name" in node},
            whole.buffers + min(root["Shared Hit Blocks"] + root["Shared Read Blocks"] for root in roots),
        )
    return whole


def _walk(node: dict[str, object]) -> Iterator[dict[str, object]]:
    yield node
    children = node.get("Plans", [])
    assert isinstance(children, list)
    for child in children:
        yield from _walk(child)
