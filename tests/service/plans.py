"""Query plans of the statements that the application sends."""

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from sqlalchemy import Connection

from tests.service.statements import Statement


@dataclass(frozen=True)
class Plan:
    """The tables read by a sequential scan, the indexes used, and the number of pages read."""

    scanned: set[str]
    indexes: set[str]
    buffers: int


def explain(connection: Connection, sent: Iterable[Statement]) -> Plan:
    """Run statements under EXPLAIN; return the sum of their plans.

    Each runs twice and the second plan counts: the first run also reads catalogue pages.
    """
    whole = Plan(set(), set(), 0)
    for statement in sent:
        explained = f"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) {statement.text}"
        _, output = [connection.exec_driver_sql(explained, statement.values).scalar_one() for _ in range(2)]
        root = (output if isinstance(output, list) else json.loads(output))[0]["Plan"]
        nodes = list(_walk(root))
        whole = Plan(
            whole.scanned | {str(node["Relation Name"]) for node in nodes if node["Node Type"] == "Seq Scan"},
            whole.indexes | {str(node["Index Name"]) for node in nodes if "Index Name" in node},
            whole.buffers + root["Shared Hit Blocks"] + root["Shared Read Blocks"],
        )
    return whole


def _walk(node: dict[str, object]) -> Iterator[dict[str, object]]:
    yield node
    children = node.get("Plans", [])
    assert isinstance(children, list)
    for child in children:
        yield from _walk(child)
