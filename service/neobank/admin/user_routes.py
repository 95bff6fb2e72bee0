"""Organisers' routes that find, show and change players."""

from apiflask import APIBlueprint

from neobank.admin import users
from neobank.admin.actions import record_action
from neobank.admin.schemas import PasswordReset, RoleChange, UserChanged, UserDetail, Users, UserSearch
from neobank.players import passwords
from neobank.players.operations import profile
from neobank.players.schemas import User
from neobank.settings import Limit
from neobank.web.authentication import ORGANISER, bearer, current_caller
from neobank.web.bank import current_bank
from neobank.web.rate_limits import by_account, limited
from neobank.web.requests import Confirmation

users_blueprint = APIBlueprint("admin_users", __name__, url_prefix="/api/admin/users", tag="Organisers: players")


@users_blueprint.get("/search")
@users_blueprint.auth_required(bearer, roles=[ORGANISER])
@users_blueprint.input(UserSearch, location="query")
@users_blueprint.output(Users)
@users_blueprint.doc(responses=[429])
@limited(Limit.SEARCHES, by_account)
def get_search(query_data: UserSearch) -> Users:
    """Find players by the beginning of the account number, the name or a word in the name."""
    with current_bank().statement() as connection:
        return Users(users=[User.of(player) for player in users.search(connection, query_data.q)])


@users_blueprint.get("/<number:number>")
@users_blueprint.auth_required(bearer, roles=[ORGANISER])
@users_blueprint.output(UserDetail)
@users_blueprint.doc(responses=[404])
def get_user(number: str) -> UserDetail:
    """Show a player."""
    with current_bank().statement() as connection:
        subject = users.find(connection, number)
        player, turnover = profile(connection, subject.account_id), users.turnover(connection, subject)
    return UserDetail(
        user=User.of(player), total_sent=turnover.sent, total_received=turnover.received, frozen=subject.frozen
    )


@users_blueprint.post("/<number>/reset-password")
@users_blueprint.auth_required(bearer, roles=[ORGANISER])
@users_blueprint.input(PasswordReset)
@users_blueprint.output(Confirmation)
@users_blueprint.doc(responses=[404])
def post_password(number: str, json_data: PasswordReset) -> Confirmation:
    """Set a one-time password for a player, end their sessions, and revoke the `debit` keys that they made."""
    bank = current_bank()
    with bank.statement() as connection:
        users.find(connection, number)
    password_hash = passwords.hash_password(json_data.new_password)
    with bank.transaction() as connection:
        subject = users.find(connection, number)
        revoked = users.set_one_time_password(connection, subject, password_hash)
        record_action(connection, "reset_password", subject.number, revoked_keys=revoked)
    return Confirmation(message=f"{subject.number} has a one-time password, to be changed at the next log-in.")


@users_blueprint.post("/<number>/toggle-admin")
@users_blueprint.auth_required(bearer, roles=[ORGANISER])
@users_blueprint.input(RoleChange)
@users_blueprint.output(UserChanged)
@users_blueprint.doc(responses=[404])
def post_toggle(number: str, json_data: RoleChange) -> UserChanged:
    """Make a player an organiser, or an organiser a player.

    While a player is not an organiser, the `debit` keys that they made do not work.
    """
    with current_bank().transaction() as connection:
        subject = users.find(connection, number)
        changed = users.set_role(connection, subject, is_admin=json_data.is_admin, by=current_caller().account_id)
        record_action(connection, "toggle_admin", subject.number, is_admin=changed.is_admin)
    role = "is an organiser now" if changed.is_admin else "is no longer an organiser"
    return UserChanged(message=f"{changed.character_name} {role}.", user=User.of(changed), frozen=subject.frozen)


@users_blueprint.post("/<number>/freeze")
@users_blueprint.auth_required(bearer, roles=[ORGANISER])
@users_blueprint.output(UserChanged)
@users_blueprint.doc(responses=[404])
def post_freeze(number: str) -> UserChanged:
    """Freeze an account: it cannot pay, and its sessions and API keys stop working immediately.

    The `debit` keys that its player made for other accounts stop working too.
    """
    with current_bank().transaction() as connection:
        subject = users.find(connection, number)
        changed = users.freeze(connection, subject, by=current_caller().account_id)
        record_action(connection, "freeze", subject.number)
    return UserChanged(message=f"{changed.character_name} is frozen.", user=User.of(changed), frozen=True)


@users_blueprint.post("/<number>/unfreeze")
@users_blueprint.auth_required(bearer, roles=[ORGANISER])
@users_blueprint.output(UserChanged)
@users_blueprint.doc(responses=[404])
def post_unfreeze(number: str) -> UserChanged:
    """Unfreeze an account: it can pay, and the player can log in again."""
    with current_bank().transaction() as connection:
        subject = users.find(connection, number)
        changed = users.unfreeze(connection, subject)
        record_action(connection, "unfreeze", subject.number)
    return UserChanged(message=f"{changed.character_name} is no longer frozen.", user=User.of(changed), frozen=False)


@users_blueprint.delete("/<number>/sessions")
@users_blueprint.auth_required(bearer, roles=[ORGANISER])
@users_blueprint.output(Confirmation)
@users_blueprint.doc(responses=[404])
def delete_sessions(number: str) -> Confirmation:
    """End all sessions of a player."""
    with current_bank().transaction() as connection:
        subject = users.find(connection, number)
        ended = users.end_sessions(connection, subject)
        record_action(connection, "end_sessions", subject.number, sessions=ended)
    return Confirmation(message=f"{ended} sessions of {subject.number} were ended.")
