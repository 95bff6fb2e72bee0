"""Registration, log-in and log-out, and the caller's own account."""

from typing import Annotated

from apiflask import APIBlueprint, EmptySchema
from flask import Response
from pydantic import Field

from neobank import sessions
from neobank.errors import NotAuthenticated
from neobank.monitoring.requests import note_account
from neobank.players import passwords
from neobank.players.operations import (
    authenticate,
    change_password,
    change_profile,
    credentials,
    find_credentials,
    lock_credentials,
    prepare_password,
    profile,
    register,
)
from neobank.players.pictures import MAX_PICTURE
from neobank.players.schemas import CharacterName, FactionName, NewPassword, ProfileChanged, User
from neobank.settings import Limit
from neobank.switches.operations import MAX_CODE, read_switches, share_switches
from neobank.web.authentication import bearer, begin_session, current_caller
from neobank.web.bank import current_bank
from neobank.web.rate_limits import by_account, by_address, by_name_and_address, limited
from neobank.web.requests import Answer, Body, Confirmation, Maybe, Text, no_content

auth_blueprint = APIBlueprint("auth", __name__, url_prefix="/api/v1/auth", tag="Log-in")
account_blueprint = APIBlueprint("account", __name__, url_prefix="/api/v1/account", tag="Account")


class Registration(Body):
    """A new player; `code` is the event code, if the organisers require one."""

    character_name: CharacterName
    password: NewPassword
    faction: Maybe[FactionName] = None
    code: Maybe[Annotated[Text, Field(max_length=MAX_CODE)]] = None


class LogIn(Body):
    """The credentials of a player."""

    character_name: Text
    password: Annotated[Text, Field(max_length=passwords.MAX_LENGTH)]


class ProfileChange(Body):
    """The fields to change. A picture is one emoji; PUT /api/v1/account/picture takes an image.

    An empty `faction` leaves the faction; null or an absent field does not change it.
    """

    faction: FactionName | None = None
    profile_picture: Maybe[Annotated[Text, Field(max_length=MAX_PICTURE)]] = None


class PasswordChange(Body):
    """The current password and the new one."""

    current_password: Annotated[Text, Field(max_length=passwords.MAX_LENGTH)]
    new_password: NewPassword


class Registered(Answer):
    """The new player."""

    message: str
    user: User


class LoggedIn(Answer):
    """The token to send with every further request, and the player it belongs to.

    While `must_change_password` is true, only PUT /api/v1/account/password accepts the token. The password was then a
    one-time password, which does not work for a second log-in: a player who did not receive this response asks an
    organiser for a new one.
    """

    access_token: str
    user: User
    must_change_password: bool


class OwnAccount(Answer):
    """The caller's account."""

    account: User


@auth_blueprint.post("/register")
@auth_blueprint.input(Registration)
@auth_blueprint.output(Registered, status_code=201)
@auth_blueprint.doc(responses=[403, 429])
@limited(Limit.REGISTRATIONS, by_address)
def post_registration(json_data: Registration) -> Registered:
    """Register a new player."""
    bank = current_bank()
    bank.retry_once(read_switches).admit(json_data.code)
    password_hash = passwords.hash_password(json_data.password)
    with bank.transaction() as connection:
        share_switches(connection).admit(json_data.code)  # an organiser may have closed registration meanwhile
        player = register(
            connection, name=json_data.character_name, password_hash=password_hash, faction=json_data.faction
        )
    note_account(player.account_number)
    return Registered(message=f"Welcome, {player.character_name}.", user=User.of(player))


@auth_blueprint.post("/login")
@auth_blueprint.input(LogIn)
@auth_blueprint.output(LoggedIn)
@auth_blueprint.doc(responses=[401, 429])
@limited(Limit.LOGINS, by_name_and_address)
def post_login(json_data: LogIn) -> LoggedIn:
    """Log in."""
    bank = current_bank()
    found = bank.retry_once(lambda connection: find_credentials(connection, json_data.character_name))
    with bank.metrics.failed_logins.count_exceptions(NotAuthenticated):
        proven = authenticate(found, json_data.password)
    with bank.transaction() as connection:
        lock_credentials(connection, proven)
        token = begin_session(connection, proven.account_id)
        player = profile(connection, proven.account_id)
    note_account(player.account_number)
    return LoggedIn(access_token=token, user=User.of(player), must_change_password=proven.must_change_password)


@auth_blueprint.post("/logout")
@auth_blueprint.auth_required(bearer)
@auth_blueprint.output(EmptySchema, status_code=204)
def post_logout() -> Response:
    """Log out: the token of this request becomes invalid at once."""
    player = current_caller()
    with current_bank().statement() as connection:
        sessions.end(connection, player.account_id, player.session_id)
    return no_content()


@account_blueprint.get("")
@account_blueprint.auth_required(bearer)
@account_blueprint.output(OwnAccount)
def get_account() -> OwnAccount:
    """Show the caller's account."""
    with current_bank().statement() as connection:
        player = profile(connection, current_caller().account_id)
    return OwnAccount(account=User.of(player))


@account_blueprint.put("/profile")
@account_blueprint.auth_required(bearer)
@account_blueprint.input(ProfileChange)
@account_blueprint.output(ProfileChanged)
def put_profile(json_data: ProfileChange) -> ProfileChanged:
    """Change the caller's faction or picture; an absent field is not changed."""
    with current_bank().transaction() as connection:
        player = change_profile(
            connection,
            current_caller().account_id,
            faction=json_data.faction,
            profile_picture=json_data.profile_picture,
        )
    return ProfileChanged(message="Your profile is up to date.", account=User.of(player))


@account_blueprint.put("/password")
@account_blueprint.auth_required(bearer)
@account_blueprint.input(PasswordChange)
@account_blueprint.output(Confirmation)
@account_blueprint.doc(responses=[429])
@limited(Limit.PASSWORDS, by_account)
def put_password(json_data: PasswordChange) -> Confirmation:
    """Change the caller's password and end all of their other sessions."""
    bank, player = current_bank(), current_caller()
    with bank.statement() as connection:
        found = credentials(connection, player.account_id)
    new_hash = prepare_password(found, current=json_data.current_password, new=json_data.new_password)
    with bank.transaction() as connection:
        change_password(connection, found, new_hash)
        sessions.end_others(connection, player)
    return Confirmation(message="Your password is changed; every other device is logged out.")
