"""What a page asks first, before anybody has logged in."""

from apiflask import APIBlueprint

from neobank.casino.configuration import open_games
from neobank.switches.operations import RegistrationMode, read_switches
from neobank.web.bank import current_bank
from neobank.web.requests import Answer

status_blueprint = APIBlueprint("status", __name__, url_prefix="/api/v1", tag="Status")


class Status(Answer):
    """Whether money moves, who may join, and the names of the games that are open."""

    read_only: bool
    registration: RegistrationMode
    games: list[str]


@status_blueprint.get("/status")
@status_blueprint.output(Status)
def get_status() -> Status:
    """Tell what the bank does right now."""
    switches, games = current_bank().retry_once(
        lambda connection: (read_switches(connection), list(open_games(connection)))
    )
    return Status(read_only=switches.read_only, registration=switches.registration, games=games)
