"""What PostgreSQL does for a statement."""

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from sqlalchemy import Connection

from tests.service.statements import Statement


@dataclass(frozen=True)
class Plan:
    """The tables that were read whole, the indexes that were used, the pages that were touched."""

    scanned: set[str]
    indexes: set[str]
    buffers: int


def explain(connection: Connection, sent: Iterable[Statement]) -> Plan:
    """Run statements under EXPLAIN; gives what they did together.

    Each runs twice, and the second time counts: the first one reads the catalogue as well, for what it calls.
    """
    whole = Plan(set(), set(), 0)
    for statement in sent:
        explained = f"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) {statement.text}"
        _, said = [connection.exec_driver_sql(explained, statement.values).scalar_one() for _ in range(2)]
        root = (said if isinstance(said, list) else json.loads(said))[0]["Plan"]
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
