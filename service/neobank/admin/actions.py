"""The audit record of an organiser's action."""

from sqlalchemy import Connection

from neobank.audit.operations import Detail, record
from neobank.web.authentication import current_caller


def record_action(connection: Connection, action: str, target: str, /, **details: Detail) -> None:
    """Add the caller's action to the audit log, as the last statement of its transaction (see `record`)."""
    record(connection, actor=current_caller().account_id, action=action, target=target, details=details)
