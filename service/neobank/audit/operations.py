"""Recording what an organiser does, in the transaction in which they do it, and reading it."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection, select, text

from neobank.audit.models import AuditLog
from neobank.ledger.models import Account

Detail = str | int | float | bool | None

_RECORD = text("SELECT record_audit(:actor, :action, :target, :details)")


def record(connection: Connection, *, actor: int, action: str, target: str, details: Mapping[str, Detail]) -> None:
    """Add a row to the audit. Call it last in its transaction: from here on, other organisers wait for the commit.

    `actor` is an account's id, `target` what was acted on in the organisers' words. Details hold no secret.
    """
    values = {"actor": actor, "action": action, "target": target, "details": json.dumps(details, ensure_ascii=False)}
    connection.execute(_RECORD, values)


@dataclass(frozen=True, slots=True)
class Log:
    """What an organiser did; `hash` is the chain's, up to and with this."""

    id: int
    created_at: datetime
    actor_number: str
    actor_name: str
    action: str
    target: str
    details: dict[str, Detail]
    hash: bytes


def logs(connection: Connection, *, limit: int, offset: int) -> Sequence[Log]:
    """List what organisers did, newest first, after leaving out `offset` rows."""
    page = select(AuditLog.__table__).order_by(AuditLog.id.desc()).limit(limit).offset(offset).subquery()
    statement = (
        select(
            page.c.id,
            page.c.created_at,
            Account.number,
            Account.name,
            page.c.action,
            page.c.target,
            page.c.details,
            page.c.hash,
        )
        .join(Account, Account.id == page.c.actor_id)
        .order_by(page.c.id.desc())
    )
    return [
        Log(id_, at, number, name, action, target, json.loads(details), hash_)
        for id_, at, number, name, action, target, details, hash_ in connection.execute(statement)
    ]
