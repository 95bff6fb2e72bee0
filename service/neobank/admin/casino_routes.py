"""Organisers set the games, and close the casino for a player who needs that."""

from datetime import datetime
from decimal import Decimal
from typing import Annotated

from apiflask import APIBlueprint
from pydantic import BeforeValidator, StrictBool, WithJsonSchema
from pydantic_core import PydanticCustomError

from neobank.admin import users
from neobank.admin.schemas import Reason
from neobank.audit.operations import Detail, record
from neobank.casino import protection
from neobank.casino.commands import in_hundredths
from neobank.casino.configuration import Configuration, configurations, configure
from neobank.casino.exact import figures
from neobank.casino.schemas import Percentage
from neobank.web.authentication import ORGANISER, bearer, current_caller
from neobank.web.bank import current_bank
from neobank.web.requests import Answer, Body, Confirmation, Maybe, Time

games_blueprint = APIBlueprint("admin_casino", __name__, url_prefix="/api/admin", tag="Organisers: casino")


def _dial(value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int | Decimal):
        raise PydanticCustomError("percentage_type", "a payout percentage is a JSON number.")
    return in_hundredths(Decimal(value))


Payout = Annotated[
    int,
    BeforeValidator(_dial),
    WithJsonSchema({"type": "number", "minimum": 50, "maximum": 150, "multipleOf": 0.01}),
]


class GameChange(Body):
    """What to set; what is left out stays."""

    is_enabled: Maybe[StrictBool] = None
    payout_percentage: Maybe[Payout] = None


class Exclusion(Body):
    """Until when, and why; nobody makes it shorter."""

    until: Time
    reason: Reason


class GameConfig(Answer):
    """A game as it is set; `exact_return` is what it returns, free spins included, as a fraction."""

    game_name: str
    is_enabled: bool
    payout_percentage: Percentage
    config_version: int
    updated_at: datetime
    exact_return: str

    @classmethod
    def of(cls, found: Configuration) -> "GameConfig":
        """Show how a game is set."""
        return cls(
            game_name=found.game.name,
            is_enabled=found.is_enabled,
            payout_percentage=found.current.dial,
            config_version=found.current.id,
            updated_at=max(found.updated_at, found.current.since),
            exact_return=str(figures(found.game, found.current.dial).returned),
        )


class GameConfigs(Answer):
    """How all games are set."""

    games: list[GameConfig]


class GameConfigured(Answer):
    """The game as it is set now."""

    message: str
    game: GameConfig


@games_blueprint.get("/casino/config")
@games_blueprint.auth_required(bearer, roles=[ORGANISER])
@games_blueprint.output(GameConfigs)
def get_config() -> GameConfigs:
    """Show which games are open, and what they return."""
    with current_bank().statement() as connection:
        return GameConfigs(games=[GameConfig.of(found) for found in configurations(connection)])


@games_blueprint.put("/casino/config/<game_name>")
@games_blueprint.auth_required(bearer, roles=[ORGANISER])
@games_blueprint.input(GameChange)
@games_blueprint.output(GameConfigured)
@games_blueprint.doc(responses=[404])
def put_config(game_name: str, json_data: GameChange) -> GameConfigured:
    """Open or close a game, at once, and set what it returns: a new version, for rounds from here on."""
    by = current_caller().account_id
    with current_bank().transaction() as connection:
        found = configure(
            connection, game_name, is_enabled=json_data.is_enabled, dial=json_data.payout_percentage, by=by
        )
        details: dict[str, Detail] = {
            "is_enabled": found.is_enabled,
            "payout_percentage": found.current.dial / 100,
            "config_version": found.current.id,
        }
        record(connection, actor=by, action="set_game", target=game_name, details=details)
    return GameConfigured(message=f"{game_name} is set.", game=GameConfig.of(found))


@games_blueprint.put("/users/<number>/exclusion")
@games_blueprint.auth_required(bearer, roles=[ORGANISER])
@games_blueprint.input(Exclusion)
@games_blueprint.output(Confirmation)
@games_blueprint.doc(responses=[404])
def put_exclusion(number: str, json_data: Exclusion) -> Confirmation:
    """Close the casino for a player until a time, or longer than they did themselves."""
    by = current_caller().account_id
    until = protection.in_iso(json_data.until)
    with current_bank().transaction() as connection:
        subject = users.find(connection, number)
        protection.exclude(connection, subject.account_id, subject.number, json_data.until)
        details: dict[str, Detail] = {"until": until, "reason": json_data.reason}
        record(connection, actor=by, action="exclude", target=subject.number, details=details)
    return Confirmation(message=f"The casino is closed for {subject.number} until {until}.")
