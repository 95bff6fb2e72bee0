"""Recording an organiser's action in the audit log, in the transaction of the action, and reading the log."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection, select, text
from sqlalchemy.exc import IntegrityError

from neobank.audit.models import AuditLog
from neobank.errors import Forbidden
from neobank.ledger.models import Account
from neobank.ledger.operations import violated_constraint

Detail = str | int | float | bool | None


class NotAnOrganiser(Forbidden):
    """The actor is no organiser who may act: another organiser has just demoted them or frozen their account."""

    def __init__(self) -> None:
        super().__init__("You are no longer an organiser, or your account is frozen: ask another organiser.")


_RECORD = text("SELECT record_audit(:actor, :action, :target, :details)")


def record(connection: Connection, *, actor: int, action: str, target: str, details: Mapping[str, Detail]) -> None:
    """Append a row to the audit log. Call it last in the transaction: other organisers' actions wait until its commit.

    `actor` is an account id; `target` names the affected object as organisers know it. `details` contain no secret.
    Raise NotAnOrganiser; the transaction must then be rolled back.
    """
    values = {"actor": actor, "action": action, "target": target, "details": json.dumps(details, ensure_ascii=False)}
    try:
        connection.execute(_RECORD, values)
    except IntegrityError as error:
        if violated_constraint(error) == "actor_is_organiser":
            raise NotAnOrganiser from error
        raise


@dataclass(frozen=True, slots=True)
class Log:
    """An action of an organiser; `hash` is the head of the chain up to and including this row."""

    id: int
    created_at: datetime
    actor_number: str
    actor_name: str
    action: str
    target: str
    details: dict[str, Detail]
    hash: bytes

    def summary(self) -> str | None:
        """Return the details as one line of text, or None if there are none."""
        return ", ".join(f"{name}: {_shown(value)}" for name, value in self.details.items()) or None


def _shown(value: Detail) -> str:
    match value:
        case None:
            return "none"
        case bool():
            return "yes" if value else "no"
    return str(value)


def logs(connection: Connection, *, limit: int, offset: int) -> Sequence[Log]:
    """Return the organisers' actions, newest first: at most `limit`, after skipping `offset` rows."""
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
