"""The public status, which clients read before log-in."""

from apiflask import APIBlueprint

from neobank.casino.configuration import open_games
from neobank.switches.operations import RegistrationMode, read_switches
from neobank.web.bank import current_bank
from neobank.web.requests import Answer

status_blueprint = APIBlueprint("status", __name__, url_prefix="/api/v1", tag="Status")


class Status(Answer):
    """Whether the bank is read-only, who may register, and the names of the open games."""

    read_only: bool
    registration: RegistrationMode
    games: list[str]


@status_blueprint.get("/status")
@status_blueprint.output(Status)
def get_status() -> Status:
    """Show whether the bank is read-only, who may register, and which games are open."""
    switches, games = current_bank().retry_once(
        lambda connection: (read_switches(connection), list(open_games(connection)))
    )
    return Status(read_only=switches.read_only, registration=switches.registration, games=games)
