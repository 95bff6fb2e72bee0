"""The caller's sessions: list them, and end them from any device."""

from datetime import datetime

from apiflask import APIBlueprint, EmptySchema
from flask import Response

from neobank import sessions
from neobank.errors import NotFound
from neobank.web.authentication import bearer, current_caller
from neobank.web.bank import current_bank
from neobank.web.requests import Answer, no_content

sessions_blueprint = APIBlueprint("sessions", __name__, url_prefix="/api/v1/account/sessions", tag="Sessions")


class Session(Answer):
    """A session; `device` is the User-Agent of the log-in, `last_seen_at` is accurate to one minute."""

    id: int
    device: str | None
    started_at: datetime
    last_seen_at: datetime
    current: bool


class Sessions(Answer):
    """The caller's newest sessions, newest first; `current` is true for the session of this request."""

    sessions: list[Session]


@sessions_blueprint.get("")
@sessions_blueprint.auth_required(bearer)
@sessions_blueprint.output(Sessions)
def get_sessions() -> Sessions:
    """List the caller's sessions."""
    player = current_caller()
    with current_bank().statement() as connection:
        found = sessions.open_sessions(connection, player.account_id)
    return Sessions(
        sessions=[
            Session(
                id=session.id,
                device=session.device,
                started_at=session.started_at,
                last_seen_at=session.last_seen_at,
                current=session.id == player.session_id,
            )
            for session in found
        ]
    )


@sessions_blueprint.delete("")
@sessions_blueprint.auth_required(bearer)
@sessions_blueprint.output(EmptySchema, status_code=204)
def delete_sessions() -> Response:
    """End all of the caller's sessions except the current one."""
    with current_bank().statement() as connection:
        sessions.end_others(connection, current_caller())
    return no_content()


@sessions_blueprint.delete("/<int:session_id>")
@sessions_blueprint.auth_required(bearer)
@sessions_blueprint.output(EmptySchema, status_code=204)
@sessions_blueprint.doc(responses=[404])
def delete_session(session_id: int) -> Response:
    """End one of the caller's sessions."""
    with current_bank().statement() as connection:
        if not sessions.end(connection, current_caller().account_id, session_id):
            raise NotFound("You have no such session: it has ended, or it is not yours.")
    return no_content()
