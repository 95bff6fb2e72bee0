"""Recording what an organiser does, in the transaction in which they do it."""

import json
from collections.abc import Mapping

from sqlalchemy import Connection, text

_RECORD = text("SELECT record_audit(:actor, :action, :target, :details)")


def record(
    connection: Connection, *, actor: int, action: str, target: str, details: Mapping[str, str | int | bool | None]
) -> None:
    """Add a row to the audit. Call it last in its transaction: from here on, other organisers wait for the commit.

    `actor` is an account's id, `target` what was acted on in the organisers' words. Details hold no secret.
    """
    values = {"actor": actor, "action": action, "target": target, "details": json.dumps(details, ensure_ascii=False)}
    connection.execute(_RECORD, values)
