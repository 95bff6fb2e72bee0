"""Bearer authentication of players: begin a session, and return the caller of a request.

A session that begins with a one-time password may only change that password.
"""

from http import HTTPStatus
from typing import Final

from apiflask import HTTPTokenAuth
from flask import Response, request
from sqlalchemy import Connection

from neobank import sessions
from neobank.errors import Forbidden
from neobank.monitoring.requests import note_account
from neobank.sessions import Caller
from neobank.web.bank import current_bank
from neobank.web.errors import problem

MAX_DEVICE: Final = 200
"""The maximum number of characters that a session stores of the User-Agent header."""

ORGANISER: Final = "organiser"
"""The role for `auth_required(bearer, roles=[ORGANISER])`; callers without it receive 403."""

PASSWORD_CHANGE: Final = "account.put_password"  # noqa: S105  # an endpoint
"""The only endpoint that accepts a caller who logged in with a one-time password."""

bearer = HTTPTokenAuth(description="The access_token in the response of the log-in.")


def begin_session(connection: Connection, account_id: int) -> str:
    """Begin a session on the device that sent this request, and return its token."""
    return sessions.begin(connection, account_id, secret_key=current_bank().settings.secret_key, device=_device())


def current_caller() -> Caller:
    """Return the player who sent this request; for routes that require the bearer token."""
    caller = bearer.current_user
    if not isinstance(caller, Caller):
        raise TypeError("this route does not require a bearer token")
    return caller


def _verify_token(token: str) -> Caller | None:
    if not token:
        return None
    bank = current_bank()
    secret_key = bank.settings.secret_key
    caller = bank.retry_once(lambda connection: sessions.find_caller(connection, token, secret_key=secret_key))
    if caller is None:
        return None
    note_account(caller.account_number)
    if caller.must_change_password and request.endpoint != PASSWORD_CHANGE:
        raise Forbidden("Your password is a one-time password: change it first, with PUT /api/v1/account/password.")
    return caller


def _reject(status: int) -> Response:
    if status == HTTPStatus.FORBIDDEN:
        return problem(status, "Only organisers may do this.")
    return problem(status, "Log in first: this request needs a valid bearer token.")


def _device() -> str | None:
    printable = "".join(character for character in request.user_agent.string if character.isprintable())
    return printable[:MAX_DEVICE] or None


bearer.verify_token(_verify_token)
bearer.error_handler(_reject)
bearer.get_user_roles(lambda caller: [ORGANISER] if caller.is_admin else [])
