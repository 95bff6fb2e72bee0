"""Organisers send and fetch lists of players, as CSV."""

from collections.abc import Callable
from typing import Any, TypeVar

from apiflask import APIBlueprint, HTTPError
from flask import Response, request

from neobank.admin import imports, reports
from neobank.audit.operations import record
from neobank.players import passwords
from neobank.web.authentication import ORGANISER, bearer, current_caller
from neobank.web.bank import current_bank

lists_blueprint = APIBlueprint("admin_lists", __name__, url_prefix="/api/admin/users", tag="Organisers: lists")

View = TypeVar("View", bound=Callable[..., object])

CSV = "text/csv"
MAX_LIST = 1024 * 1024
"""Bytes of a list of players."""


def _csv_answer(status: int) -> dict[int | str, dict[str, str | dict[str, dict[str, Any]]]]:
    """Describe an answer that is no JSON, as APIFlask takes it."""
    return {status: {"description": "A list of players", "content": {CSV: {"schema": {"type": "string"}}}}}


def _takes_csv(view: View) -> View:
    """Describe a body that is no JSON, where APIFlask's `input` describes others."""
    vars(view).setdefault("_spec", {}).update(
        body={"type": "string", "examples": ["name,faction,opening_balance\nNeo,Runners,250\n"]}, content_type=CSV
    )
    return view


@lists_blueprint.post("/import")
@lists_blueprint.auth_required(bearer, roles=[ORGANISER])
@_takes_csv
@lists_blueprint.doc(
    description=(
        f"The body is CSV ({CSV}, UTF-8) whose first line names its columns: name, and perhaps faction and "
        f"opening_balance; at most {imports.MAX_LINES} players, all of them or nobody. "
        "The answer is CSV of name, account number and one-time password, shown this once."
    ),
    responses=_csv_answer(201),
)
def post_import() -> Response:
    """Create players from a list."""
    listed = imports.read(_csv_body())
    one_time = [passwords.one_time() for _ in listed.rows]
    with current_bank().transaction() as connection:
        created = imports.create(connection, listed, one_time)
        by = current_caller().account_id
        record(connection, actor=by, action="import_players", target="players", details={"players": len(created)})
    columns = ("Character Name", "Account Number", "One-time Password")
    return _csv(
        reports.write_csv(columns, ((it.name, it.account_number, it.password) for it in created)), "players.csv", 201
    )


@lists_blueprint.get("/export")
@lists_blueprint.auth_required(bearer, roles=[ORGANISER])
@lists_blueprint.doc(responses=_csv_answer(200))
def get_export() -> Response:
    """Fetch all players as CSV."""
    with current_bank().transaction() as connection:
        found = reports.players(connection)
        by = current_caller().account_id
        record(connection, actor=by, action="export_players", target="players", details={"players": len(found)})
    return _csv(reports.as_csv(found), "neobank-players.csv", 200)


def _csv_body() -> str:
    if request.mimetype != CSV:
        raise HTTPError(415, f"The body must be CSV: send Content-Type: {CSV}.")
    request.max_content_length = MAX_LIST
    try:
        return request.get_data().decode()
    except UnicodeDecodeError:
        raise HTTPError(400, "The list is not UTF-8.") from None


def _csv(text: str, name: str, status: int) -> Response:
    response = Response(text, status=status, content_type=f"{CSV}; charset=utf-8")
    response.headers["Content-Disposition"] = f'attachment; filename="{name}"'
    return response
