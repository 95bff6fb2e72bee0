"""Error responses: RFC 9457 `application/problem+json`, with the member `error` that older clients read."""

import logging
import re
from collections.abc import Mapping
from http import HTTPStatus
from typing import Final

from apiflask import APIFlask, HTTPError
from flask import Response, jsonify, make_response, request
from pydantic import BaseModel
from sqlalchemy.exc import InterfaceError, OperationalError, SQLAlchemyError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from werkzeug.datastructures import Headers

from neobank.database import disk_is_full, reason
from neobank.errors import BankError, Busy, DatabaseFull
from neobank.monitoring.requests import request_id

logger = logging.getLogger(__name__)

PROBLEM: Final = "application/problem+json"

# Pydantic's message about the length of a text that a validator handled first: it calls the characters "items".
_LENGTH: Final = re.compile(r"^Value should have (at (?:least|most) \d+) items? after validation, not \d+")
_CHARACTERS: Final = r"must have \1 characters"


class Problem(BaseModel):
    """The body of an error response."""

    type: str
    title: str
    status: int
    detail: str
    error: str


def register(app: APIFlask) -> None:
    """Make an application return every error as a problem."""
    app.error_processor(_http_error)
    app.register_error_handler(BankError, _bank_error)
    for outage in (OperationalError, InterfaceError, PoolTimeout):
        app.register_error_handler(outage, _outage)


def problem(status: int, detail: str, headers: Headers | dict[str, str] | None = None) -> Response:
    """Return an error response; `detail` is the message for the player or developer who sent the request."""
    body = Problem(type="about:blank", title=HTTPStatus(status).phrase, status=status, detail=detail, error=detail)
    response = make_response(jsonify(body.model_dump()), status, headers or {})
    response.content_type = PROBLEM
    if status == HTTPStatus.UNAUTHORIZED:
        response.headers.setdefault("WWW-Authenticate", "Bearer")
    return response


def _http_error(error: HTTPError) -> Response:
    detail = _validation_detail(error.detail) if isinstance(error.detail, dict) and error.detail else _detail(error)
    return problem(error.status_code, detail, Headers(error.headers))


def _detail(error: HTTPError) -> str:
    match error.status_code:
        case HTTPStatus.NOT_FOUND:
            return "This URL does not exist: check the path."
        case HTTPStatus.METHOD_NOT_ALLOWED:
            return f"This URL does not accept {request.method}: use a method of the Allow header."
        case HTTPStatus.REQUEST_ENTITY_TOO_LARGE:
            return f"The body is too large: send at most {request.max_content_length} bytes."
        case HTTPStatus.INTERNAL_SERVER_ERROR:
            return (
                f"Internal error: this request changed nothing. Report the request id {request_id()} to an organiser."
            )
    return error.message or HTTPStatus(error.status_code).phrase


def _validation_detail(locations: Mapping[str, Mapping[str, list[str]]]) -> str:
    return " ".join(
        f"{name}: {_LENGTH.sub(_CHARACTERS, message).removeprefix('Value error, ').removesuffix('.')}."
        for fields in locations.values()
        for name, messages in fields.items()
        for message in messages
    )


def _bank_error(error: BankError) -> Response:
    headers = {"Retry-After": str(error.retry_after)} if isinstance(error, Busy) else None
    return problem(error.status, str(error), headers)


def _outage(error: SQLAlchemyError) -> Response:
    if disk_is_full(error):
        logger.error("The database's disk is full: %s", reason(error))
        return _bank_error(
            DatabaseFull("The disk of the bank's database is full: tell an organiser, and try again later.")
        )
    logger.warning("The database did not answer: %s", reason(error))
    return _bank_error(Busy("The bank can't reach its database: try again in a few seconds."))
