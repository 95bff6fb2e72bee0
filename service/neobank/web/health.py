"""Whether the process lives (no database asked), and whether it can serve (database and schema asked)."""

from apiflask import APIBlueprint
from flask import Response
from sqlalchemy import text
from sqlalchemy.exc import SQLAlchemyError

from neobank.contract import CONTRACT
from neobank.web.bank import current_bank
from neobank.web.errors import problem
from neobank.web.requests import Answer

blueprint = APIBlueprint("health", __name__, tag="Health")


_REVISION = text("SELECT version_num FROM alembic_version")


class Health(Answer):
    """The process lives."""

    status: str
    service: str


@blueprint.get(CONTRACT.live_path)
@blueprint.output(Health)
def live() -> Health:
    """Tell that the process lives; the database is not asked."""
    return Health(status="healthy", service="neobank")


@blueprint.get(CONTRACT.ready_path)
@blueprint.output(Health)
@blueprint.doc(responses=[503])
def ready() -> Health | Response:
    """Tell whether requests can be served: the database answers, and its schema is this version's or a newer one."""
    bank = current_bank()
    try:
        found = bank.retry_once(lambda connection: connection.execute(_REVISION).scalar_one())
    except SQLAlchemyError:
        return problem(503, "The database does not answer, or was never upgraded.", {"Retry-After": "2"})
    if found < bank.schema_revision:
        return problem(503, f"The database is at {found} and needs {bank.schema_revision}.", {"Retry-After": "2"})
    return Health(status="ready", service="neobank")
