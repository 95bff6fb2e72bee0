"""Organisers' routes for the casino: settings of the games, exclusion of a player."""

from datetime import datetime
from decimal import Decimal
from typing import Annotated

from apiflask import APIBlueprint
from pydantic import BeforeValidator, StrictBool, WithJsonSchema
from pydantic_core import PydanticCustomError

from neobank.admin import users
from neobank.admin.actions import record_action
from neobank.admin.schemas import Reason
from neobank.casino import protection
from neobank.casino.commands import in_hundredths
from neobank.casino.configuration import Configuration, configurations, configure
from neobank.casino.exact import figures
from neobank.casino.schemas import Percentage
from neobank.web.authentication import ORGANISER, bearer, current_caller
from neobank.web.bank import current_bank
from neobank.web.requests import Answer, Body, Confirmation, Maybe, Time

games_blueprint = APIBlueprint("admin_casino", __name__, url_prefix="/api/admin", tag="Organisers: casino")


def _to_dial(value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int | Decimal):
        raise PydanticCustomError("percentage_type", "a payout percentage must be a JSON number.")
    return in_hundredths(Decimal(value))


Payout = Annotated[
    int,
    BeforeValidator(_to_dial),
    WithJsonSchema({"type": "number", "minimum": 50, "maximum": 150, "multipleOf": 0.01}),
]


class GameChange(Body):
    """The settings to change; an omitted field keeps its value."""

    is_enabled: Maybe[StrictBool] = None
    payout_percentage: Maybe[Payout] = None


class Exclusion(Body):
    """When the exclusion ends, and the reason. An exclusion can be extended, but not shortened."""

    until: Time
    reason: Reason


class GameConfig(Answer):
    """A game's settings; `exact_return` is its return as a fraction, free spins included."""

    game_name: str
    is_enabled: bool
    payout_percentage: Percentage
    config_version: int
    updated_at: datetime
    exact_return: str

    @classmethod
    def of(cls, configuration: Configuration) -> "GameConfig":
        """Convert a game's configuration."""
        version = configuration.current
        return cls(
            game_name=configuration.game.name,
            is_enabled=configuration.is_enabled,
            payout_percentage=version.dial,
            config_version=version.id,
            updated_at=max(configuration.updated_at, version.since),
            exact_return=str(figures(configuration.game, version.dial).returned),
        )


class GameConfigs(Answer):
    """The settings of all games."""

    games: list[GameConfig]


class GameConfigured(Answer):
    """The game's settings after the change."""

    message: str
    game: GameConfig


@games_blueprint.get("/casino/config")
@games_blueprint.auth_required(bearer, roles=[ORGANISER])
@games_blueprint.output(GameConfigs)
def get_config() -> GameConfigs:
    """List the settings and the exact returns of the games."""
    with current_bank().statement() as connection:
        return GameConfigs(games=[GameConfig.of(game) for game in configurations(connection)])


@games_blueprint.put("/casino/config/<game_name>")
@games_blueprint.auth_required(bearer, roles=[ORGANISER])
@games_blueprint.input(GameChange)
@games_blueprint.output(GameConfigured)
@games_blueprint.doc(responses=[404])
def put_config(game_name: str, json_data: GameChange) -> GameConfigured:
    """Open or close a game immediately, and set its payout percentage.

    A new payout percentage creates a new version for later rounds. Free spins keep the version that awarded them.
    """
    with current_bank().transaction() as connection:
        changed = configure(
            connection,
            game_name,
            is_enabled=json_data.is_enabled,
            dial=json_data.payout_percentage,
            by=current_caller().account_id,
        )
        record_action(
            connection,
            "set_game",
            game_name,
            is_enabled=changed.is_enabled,
            payout_percentage=changed.current.dial / 100,
            config_version=changed.current.id,
        )
    return GameConfigured(message=f"The settings of {game_name} are saved.", game=GameConfig.of(changed))


@games_blueprint.put("/users/<number>/exclusion")
@games_blueprint.auth_required(bearer, roles=[ORGANISER])
@games_blueprint.input(Exclusion)
@games_blueprint.output(Confirmation)
@games_blueprint.doc(responses=[404])
def put_exclusion(number: str, json_data: Exclusion) -> Confirmation:
    """Exclude a player from the casino until a time, or extend an exclusion."""
    until = protection.in_iso(json_data.until)
    with current_bank().transaction() as connection:
        subject = users.find(connection, number)
        protection.exclude(connection, subject.account_id, subject.number, json_data.until)
        record_action(connection, "exclude", subject.number, until=until, reason=json_data.reason)
    return Confirmation(message=f"{subject.number} is excluded from the casino until {until}.")
