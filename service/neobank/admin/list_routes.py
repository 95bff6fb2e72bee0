"""Organisers' routes that import and export players as CSV."""

from typing import Any

from apiflask import APIBlueprint, HTTPError
from flask import Response, request
from sqlalchemy import Connection

from neobank.admin import imports, reports
from neobank.admin.actions import record_action
from neobank.admin.imports import ImportRecord, OneTimePasswords
from neobank.players import passwords
from neobank.web.authentication import ORGANISER, bearer, current_caller
from neobank.web.bank import current_bank
from neobank.web.idempotency import once
from neobank.web.requests import content_of, takes

lists_blueprint = APIBlueprint("admin_lists", __name__, url_prefix="/api/admin/users", tag="Organisers: lists")

CSV = "text/csv"
MAX_LIST = 1024 * 1024
"""The maximum size of an imported list, in bytes."""


def _csv_response(status: int) -> dict[int | str, dict[str, str | dict[str, dict[str, Any]]]]:
    """Return the description of a CSV response, in the form that APIFlask's `doc` accepts."""
    return {status: {"description": "A list of players", "content": {CSV: {"schema": {"type": "string"}}}}}


@lists_blueprint.post("/import")
@lists_blueprint.auth_required(bearer, roles=[ORGANISER])
@takes([CSV], {"type": "string", "examples": ["name,faction,opening_balance\nNeo,Runners,250\n"]})
@lists_blueprint.doc(
    description=(
        f"The body is CSV ({CSV}, UTF-8). Its first line names the columns: name, and optionally faction and "
        f"opening_balance. It contains at most {imports.MAX_LINES} players; all of them are created, or none. "
        "The response is CSV with name, account number and one-time password. The passwords are shown again only to a "
        "repeated request with the same Idempotency-Key."
    ),
    responses={**_csv_response(201), 422: {}},
)
def post_import() -> Response:
    """Create players from a CSV list."""
    listed, secret_key = imports.parse(_csv_body()), current_bank().settings.secret_key
    one_time = OneTimePasswords.new(secret_key)
    hashes = [passwords.hash_one_time(one_time.password(index)) for index in range(len(listed.rows))]

    def create(connection: Connection) -> ImportRecord:
        players = imports.create(connection, listed, hashes)
        record_action(connection, "import_players", "players", players=len(players))
        return ImportRecord(salt=one_time.salt, check=one_time.check, players=players)

    answer = once(current_caller().account_number, create, status=201)
    record = ImportRecord.model_validate(answer.get_json()) if isinstance(answer, Response) else answer
    one_time = OneTimePasswords.of_record(record, secret_key)
    columns = ("Character Name", "Account Number", "One-time Password")
    rows = (
        (player.name, player.account_number, one_time.password(index)) for index, player in enumerate(record.players)
    )
    return _csv(reports.write_csv(columns, rows), "players.csv", 201)


@lists_blueprint.get("/export")
@lists_blueprint.auth_required(bearer, roles=[ORGANISER])
@lists_blueprint.doc(responses=_csv_response(200))
def get_export() -> Response:
    """Export all players as CSV."""
    with current_bank().transaction() as connection:
        players = reports.players(connection)
        record_action(connection, "export_players", "players", players=len(players))
    return _csv(reports.as_csv(players), "neobank-players.csv", 200)


def _csv_body() -> str:
    content = content_of(request, [CSV], MAX_LIST)
    try:
        return content.decode()
    except UnicodeDecodeError:
        raise HTTPError(400, "The body is not UTF-8: send the list as CSV in UTF-8.") from None


def _csv(text: str, filename: str, status: int) -> Response:
    response = Response(text, status=status, content_type=f"{CSV}; charset=utf-8")
    response.headers["Content-Disposition"] = f'attachment; filename="{filename}"'
    return response
