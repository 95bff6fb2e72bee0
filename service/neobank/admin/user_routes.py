"""Organisers look for players and act on them."""

from apiflask import APIBlueprint
from sqlalchemy import Connection

from neobank.admin import users
from neobank.admin.schemas import PasswordReset, UserChanged, UserDetail, Users, UserSearch
from neobank.admin.users import Subject
from neobank.audit.operations import Detail, record
from neobank.players import passwords
from neobank.players.operations import profile
from neobank.players.schemas import User
from neobank.web.authentication import ORGANISER, bearer, current_caller
from neobank.web.bank import current_bank
from neobank.web.requests import Confirmation

users_blueprint = APIBlueprint("admin_users", __name__, url_prefix="/api/admin/users", tag="Organisers: players")


@users_blueprint.get("/search")
@users_blueprint.auth_required(bearer, roles=[ORGANISER])
@users_blueprint.input(UserSearch, location="query")
@users_blueprint.output(Users)
def get_search(query_data: UserSearch) -> Users:
    """Find players by the beginning of their number, their name or a word in it."""
    with current_bank().statement() as connection:
        return Users(users=[User.of(found) for found in users.search(connection, query_data.q)])


@users_blueprint.get("/<number:number>")
@users_blueprint.auth_required(bearer, roles=[ORGANISER])
@users_blueprint.output(UserDetail)
@users_blueprint.doc(responses=[404])
def get_user(number: str) -> UserDetail:
    """Show a player."""
    with current_bank().statement() as connection:
        subject = users.find(connection, number)
        found, turnover = profile(connection, subject.account_id), users.turnover(connection, subject)
    return UserDetail(
        user=User.of(found), total_sent=turnover.sent, total_received=turnover.received, frozen=subject.frozen
    )


@users_blueprint.post("/<number>/reset-password")
@users_blueprint.auth_required(bearer, roles=[ORGANISER])
@users_blueprint.input(PasswordReset)
@users_blueprint.output(Confirmation)
@users_blueprint.doc(responses=[404])
def post_password(number: str, json_data: PasswordReset) -> Confirmation:
    """Give a player a password for one time; they are logged out everywhere."""
    bank = current_bank()
    with bank.statement() as connection:
        users.find(connection, number)
    password_hash = passwords.hash_password(json_data.new_password)
    with bank.transaction() as connection:
        subject = users.find(connection, number)
        users.set_one_time_password(connection, subject, password_hash)
        _record(connection, "reset_password", subject)
    return Confirmation(message=f"{subject.number} has a new password, to be changed at the next log-in.")


@users_blueprint.post("/<number>/toggle-admin")
@users_blueprint.auth_required(bearer, roles=[ORGANISER])
@users_blueprint.output(UserChanged)
@users_blueprint.doc(responses=[404])
def post_toggle(number: str) -> UserChanged:
    """Make a player an organiser, or no longer one."""
    with current_bank().transaction() as connection:
        subject = users.find(connection, number)
        changed = users.toggle_admin(connection, subject, by=current_caller().account_id)
        _record(connection, "toggle_admin", subject, is_admin=changed.is_admin)
    said = "is an organiser now" if changed.is_admin else "is no longer an organiser"
    return UserChanged(message=f"{changed.character_name} {said}.", user=User.of(changed), frozen=subject.frozen)


@users_blueprint.post("/<number>/freeze")
@users_blueprint.auth_required(bearer, roles=[ORGANISER])
@users_blueprint.output(UserChanged)
@users_blueprint.doc(responses=[404])
def post_freeze(number: str) -> UserChanged:
    """Stop an account: it pays nobody, and its sessions and keys are dead at once."""
    with current_bank().transaction() as connection:
        subject = users.find(connection, number)
        users.freeze(connection, subject, by=current_caller().account_id)
        found = profile(connection, subject.account_id)
        _record(connection, "freeze", subject)
    return UserChanged(message=f"{found.character_name} is frozen.", user=User.of(found), frozen=True)


@users_blueprint.post("/<number>/unfreeze")
@users_blueprint.auth_required(bearer, roles=[ORGANISER])
@users_blueprint.output(UserChanged)
@users_blueprint.doc(responses=[404])
def post_unfreeze(number: str) -> UserChanged:
    """Let a frozen account pay again."""
    with current_bank().transaction() as connection:
        subject = users.find(connection, number)
        users.unfreeze(connection, subject)
        found = profile(connection, subject.account_id)
        _record(connection, "unfreeze", subject)
    return UserChanged(message=f"{found.character_name} is no longer frozen.", user=User.of(found), frozen=False)


@users_blueprint.delete("/<number>/sessions")
@users_blueprint.auth_required(bearer, roles=[ORGANISER])
@users_blueprint.output(Confirmation)
@users_blueprint.doc(responses=[404])
def delete_sessions(number: str) -> Confirmation:
    """Log a player out everywhere."""
    with current_bank().transaction() as connection:
        subject = users.find(connection, number)
        ended = users.end_sessions(connection, subject)
        _record(connection, "end_sessions", subject, sessions=ended)
    return Confirmation(message=f"{ended} sessions of {subject.number} are ended.")


def _record(connection: Connection, action: str, subject: Subject, **details: Detail) -> None:
    record(connection, actor=current_caller().account_id, action=action, target=subject.number, details=details)
