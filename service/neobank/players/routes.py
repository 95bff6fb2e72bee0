"""Joining, logging in, and one's own account."""

from datetime import datetime
from typing import Annotated

from apiflask import APIBlueprint
from pydantic import AfterValidator, Field

from neobank.players import passwords
from neobank.players.models import MAX_FACTION
from neobank.players.names import MAX_NAME, tidy
from neobank.players.operations import Profile, authenticate, find_credentials, profile, register
from neobank.settings import Limit
from neobank.web import sessions
from neobank.web.bank import current_bank
from neobank.web.rate_limits import by_address, by_name, limited
from neobank.web.requests import Answer, Body, Maybe, Money, Text

auth_blueprint = APIBlueprint("auth", __name__, url_prefix="/api/v1/auth", tag="Log-in")
account_blueprint = APIBlueprint("account", __name__, url_prefix="/api/v1/account", tag="Account")


class Registration(Body):
    """Who wants to join."""

    character_name: Annotated[Text, AfterValidator(tidy), Field(max_length=MAX_NAME)]
    password: Annotated[Text, Field(min_length=passwords.MIN_LENGTH, max_length=passwords.MAX_LENGTH)]
    faction: Maybe[Annotated[Text, Field(max_length=MAX_FACTION)]] = None


class LogIn(Body):
    """Who wants in."""

    character_name: Text
    password: Annotated[Text, Field(max_length=passwords.MAX_LENGTH)]


class User(Answer):
    """A player."""

    character_name: str
    account_number: str
    faction: str | None
    balance: Money
    is_admin: bool
    profile_picture: str | None
    free_spins: int
    created_at: datetime

    @classmethod
    def of(cls, found: Profile) -> "User":
        """Show a player's profile."""
        return cls(
            character_name=found.character_name,
            account_number=found.account_number,
            faction=found.faction,
            balance=found.balance,
            is_admin=found.is_admin,
            profile_picture=found.profile_picture,
            free_spins=0,
            created_at=found.created_at,
        )


class Registered(Answer):
    """The new player."""

    message: str
    user: User


class LoggedIn(Answer):
    """The token to send with every further request, and whose it is."""

    access_token: str
    user: User


class OwnAccount(Answer):
    """The caller's account."""

    account: User


@auth_blueprint.post("/register")
@auth_blueprint.input(Registration)
@auth_blueprint.output(Registered, status_code=201)
@auth_blueprint.doc(responses=[429])
@limited(Limit.REGISTRATIONS, by_address)
def post_registration(json_data: Registration) -> Registered:
    """Join the game."""
    password_hash = passwords.hash_password(json_data.password)
    with current_bank().transaction() as connection:
        player = register(
            connection, name=json_data.character_name, password_hash=password_hash, faction=json_data.faction
        )
    return Registered(message=f"Welcome, {player.character_name}.", user=User.of(player))


@auth_blueprint.post("/login")
@auth_blueprint.input(LogIn)
@auth_blueprint.output(LoggedIn)
@auth_blueprint.doc(responses=[401, 429])
@limited(Limit.LOGINS, by_name)
def post_login(json_data: LogIn) -> LoggedIn:
    """Log in."""
    bank = current_bank()
    with bank.statement() as connection:
        found = find_credentials(connection, json_data.character_name)
    account_id = authenticate(found, json_data.password)
    with bank.transaction() as connection:
        token = sessions.begin(connection, account_id)
        player = profile(connection, account_id)
    return LoggedIn(access_token=token, user=User.of(player))


@account_blueprint.get("")
@account_blueprint.auth_required(sessions.bearer)
@account_blueprint.output(OwnAccount)
def get_account() -> OwnAccount:
    """Show the caller's account."""
    with current_bank().statement() as connection:
        player = profile(connection, sessions.caller().account_id)
    return OwnAccount(account=User.of(player))
