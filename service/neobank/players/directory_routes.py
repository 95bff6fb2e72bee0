"""The directory of players: the factions, and the lookup of one player before a payment."""

from typing import Annotated

from apiflask import APIBlueprint
from pydantic import Field

from neobank.errors import BankError
from neobank.names import MAX_NAME
from neobank.players.factions import memberships
from neobank.players.operations import card_by_name, card_by_number
from neobank.settings import Limit
from neobank.web.authentication import bearer
from neobank.web.bank import current_bank
from neobank.web.rate_limits import by_account, limited
from neobank.web.requests import Answer, Body, Maybe, Text

directory_blueprint = APIBlueprint("directory", __name__, url_prefix="/api/v1", tag="Directory")


class Faction(Answer):
    """A faction and how many players belong to it."""

    name: str
    member_count: int


class Factions(Answer):
    """All factions, by name."""

    factions: list[Faction]


class PlayerLookup(Body):
    """The player to look up: send exactly one of the two fields."""

    account_number: Maybe[Annotated[Text, Field(max_length=MAX_NAME)]] = None
    name: Maybe[Annotated[Text, Field(max_length=MAX_NAME)]] = None


class PublicCard(Answer):
    """The public part of a player's profile."""

    character_name: str
    account_number: str
    faction: str | None
    profile_picture: str | None


@directory_blueprint.get("/factions")
@directory_blueprint.auth_required(bearer)
@directory_blueprint.output(Factions)
def get_factions() -> Factions:
    """List the factions."""
    with current_bank().statement() as connection:
        factions = memberships(connection)
    return Factions(factions=[Faction.model_validate(faction) for faction in factions])


@directory_blueprint.get("/players/lookup")
@directory_blueprint.auth_required(bearer)
@directory_blueprint.input(PlayerLookup, location="query")
@directory_blueprint.output(PublicCard)
@directory_blueprint.doc(responses=[404, 429])
@limited(Limit.LOOKUPS, by_account)
def get_player(query_data: PlayerLookup) -> PublicCard:
    """Look up one player by account number or by name, before paying them."""
    number, name = query_data.account_number, query_data.name
    with current_bank().statement() as connection:
        if number and not name:
            card = card_by_number(connection, number.strip().upper())
        elif name and not number:
            card = card_by_name(connection, name)
        else:
            raise BankError("Send either account_number or name, not both.")
    return PublicCard.model_validate(card)
