"""The probes: liveness does not use the database, readiness checks the database and its schema."""

from apiflask import APIBlueprint
from flask import Response
from sqlalchemy import text
from sqlalchemy.exc import SQLAlchemyError

from neobank.contract import CONTRACT
from neobank.web.bank import current_bank
from neobank.web.errors import problem
from neobank.web.requests import Answer

blueprint = APIBlueprint("health", __name__, tag="Health")


# The server answers from memory even if its files were deleted; it looks for the file of this table on the disk.
_REVISION = text("SELECT version_num, pg_relation_size('alembic_version') AS bytes FROM alembic_version")


class Health(Answer):
    """The state of the serving process."""

    status: str
    service: str


@blueprint.get(CONTRACT.live_path)
@blueprint.output(Health)
def live() -> Health:
    """Check that the process is alive, without using the database."""
    return Health(status="healthy", service="neobank")


@blueprint.get(CONTRACT.ready_path)
@blueprint.output(Health)
@blueprint.doc(responses=[503])
def ready() -> Health | Response:
    """Check that the bank can serve: the database answers, and its schema is this version's or newer."""
    bank = current_bank()
    try:
        revision, size = bank.retry_once(lambda connection: connection.execute(_REVISION).one())
    except SQLAlchemyError:
        return problem(503, "The database does not answer, or it was never migrated.", {"Retry-After": "2"})
    if not size:
        return problem(503, "The files of the database were deleted while it runs.", {"Retry-After": "2"})
    if revision < bank.schema_revision:
        detail = f"The database schema is at revision {revision}; this version needs {bank.schema_revision} or newer."
        return problem(503, detail, {"Retry-After": "2"})
    return Health(status="ready", service="neobank")
