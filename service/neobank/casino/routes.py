"""The routes of the casino: spins, rounds, seeds, sheets, and the player's limits."""

from typing import Any, Final

from apiflask import APIBlueprint
from flask import Response

from neobank.casino import history, protection, seeds
from neobank.casino.configuration import configurations
from neobank.casino.game import Game
from neobank.casino.games import GAMES, SHEETS
from neobank.casino.schemas import (
    Bet,
    Games,
    GameShown,
    GridSpin,
    LimitsChange,
    LimitsShown,
    NewSeed,
    Page,
    ReelsSpin,
    Rotated,
    Rounds,
    RoundShown,
    SeedsShown,
    bet_on,
)
from neobank.casino.spins import retry_spin, spin
from neobank.errors import BankError, NotFound
from neobank.settings import Limit
from neobank.web.authentication import bearer, current_caller
from neobank.web.bank import current_bank
from neobank.web.idempotency import once
from neobank.web.rate_limits import by_account, limited

casino_blueprint = APIBlueprint("casino", __name__, url_prefix="/api/v1/casino", tag="Casino")
limits_blueprint = APIBlueprint("limits", __name__, url_prefix="/api/v1/account/limits", tag="Casino")


_SHEET_RESPONSES: Final[dict[int | str, dict[str, str | dict[str, dict[str, Any]]]]] = {
    200: {"description": "The sheet of a game", "content": {"application/json": {"schema": {"type": "object"}}}},
    404: {"description": "No sheet has this hash"},
}


def _add_spin(game: Game) -> None:
    """Add the route that plays a round of a game."""
    response_type: type[ReelsSpin | GridSpin] = ReelsSpin if game.rows == 1 else GridSpin

    bets, per_line = game.bets, "" if len(game.lines) == 1 else " per line"

    def post_spin(json_data: Bet) -> ReelsSpin | GridSpin | Response:
        return _spin(game, json_data.bet_amount, response_type)

    post_spin.__name__ = f"post_{game.name}_spin"  # Flask's endpoint, which must differ for each game
    view = limited(Limit.SPINS, by_account)(post_spin)
    view = casino_blueprint.doc(
        summary=f"Play a round of {game.name}.",
        description=f"bet_amount is {bets.minimum} to {bets.maximum}{per_line}, in multiples of {bets.step}.",
        responses=[403, 409, 422, 429],
    )(view)
    view = casino_blueprint.input(bet_on(game))(casino_blueprint.output(response_type)(view))
    casino_blueprint.post(f"/{game.path_name}/spin")(casino_blueprint.auth_required(bearer)(view))


def _spin(game: Game, line_bet: int, response_type: type[ReelsSpin | GridSpin]) -> ReelsSpin | GridSpin | Response:
    player, zone = current_caller(), current_bank().settings.casino_time_zone

    def play_once(attempt: int) -> ReelsSpin | GridSpin | Response:
        return once(
            player.account_number,
            lambda connection: response_type.of(
                spin(
                    connection,
                    account_id=player.account_id,
                    account_number=player.account_number,
                    game=game,
                    line_bet=line_bet,
                    zone=zone,
                    attempt=attempt,
                )
            ),
            status=200,
            autocommit=True,
        )

    return retry_spin(play_once)


for _game in GAMES.values():
    _add_spin(_game)


@casino_blueprint.get("/games")
@casino_blueprint.auth_required(bearer)
@casino_blueprint.output(Games)
def get_games() -> Games:
    """List all games: symbols, paytable, lines, bets, exact return, and whether the game is open."""
    with current_bank().statement() as connection:
        return Games(games=[GameShown.of(configuration) for configuration in configurations(connection)])


@casino_blueprint.get("/rounds")
@casino_blueprint.auth_required(bearer)
@casino_blueprint.input(Page, location="query")
@casino_blueprint.output(Rounds)
def get_rounds(query_data: Page) -> Rounds:
    """List the caller's rounds, newest first."""
    with current_bank().statement() as connection:
        newest = history.newest(
            connection, current_caller().account_id, limit=query_data.limit + 1, before=query_data.before
        )
    page = newest[: query_data.limit]
    following = page[-1].id if len(newest) > len(page) else None
    return Rounds(rounds=[RoundShown.of(played) for played in page], next=following)


@casino_blueprint.get("/rounds/<int:round_id>")
@casino_blueprint.auth_required(bearer)
@casino_blueprint.output(RoundShown)
@casino_blueprint.doc(responses=[404])
def get_round(round_id: int) -> RoundShown:
    """Return one of the caller's rounds, with everything needed to recompute it."""
    with current_bank().statement() as connection:
        return RoundShown.of(history.one(connection, current_caller().account_id, round_id))


@casino_blueprint.get("/seed")
@casino_blueprint.auth_required(bearer)
@casino_blueprint.output(SeedsShown)
@casino_blueprint.doc(responses=[429])
@limited(Limit.SEEDS, by_account)
def get_seed() -> SeedsShown:
    """Return the commitments of the caller's seed in use and next seed."""
    player = current_caller()
    with current_bank().transaction() as connection:
        return SeedsShown.of(seeds.pair(connection, player.account_id, player.account_number))


@casino_blueprint.post("/seed")
@casino_blueprint.auth_required(bearer)
@casino_blueprint.input(NewSeed)
@casino_blueprint.output(Rotated)
@casino_blueprint.doc(responses=[429])
@limited(Limit.SEEDS, by_account)
def post_seed(json_data: NewSeed) -> Rotated:
    """Reveal the seed in use, and use the next one with this client seed."""
    player = current_caller()
    with current_bank().transaction() as connection:
        old = seeds.rotate(connection, player.account_id, player.account_number, json_data.client_seed)
    return Rotated.after(old)


@casino_blueprint.get("/sheets/<sheet>")
@casino_blueprint.doc(
    description="The canonical JSON of a sheet, also of an old one: exactly the bytes whose SHA-256 is in the path.",
    responses=_SHEET_RESPONSES,
)
def get_sheet(sheet: str) -> Response:
    """Return a game's sheet by its hash."""
    game = SHEETS.get(sheet)
    if game is None:
        raise NotFound(f"No sheet has the hash {sheet}. Each round contains the hash of its sheet.")
    headers = {"Cache-Control": "public, max-age=31536000, immutable"}
    return Response(game.canonical, headers=headers, content_type="application/json")


@limits_blueprint.get("")
@limits_blueprint.auth_required(bearer)
@limits_blueprint.output(LimitsShown)
def get_limits() -> LimitsShown:
    """Return the caller's limits, and today's bets minus today's wins."""
    with current_bank().statement() as connection:
        return _shown(protection.limits(connection, current_caller().account_id))


@limits_blueprint.put("")
@limits_blueprint.auth_required(bearer)
@limits_blueprint.input(LimitsChange)
@limits_blueprint.output(LimitsShown)
def put_limits(json_data: LimitsChange) -> LimitsShown:
    """Set the caller's daily loss limit, or exclude the caller from the casino until a time.

    A lower limit takes effect at once, a higher one after 24 hours. An exclusion can be extended but not shortened.
    """
    player = current_caller()
    if json_data.remove_daily_loss_limit and json_data.daily_loss_limit is not None:
        raise BankError("Send either daily_loss_limit or remove_daily_loss_limit, not both.")
    with current_bank().transaction() as connection:
        if json_data.daily_loss_limit is not None or json_data.remove_daily_loss_limit:
            protection.set_daily_loss_limit(
                connection, player.account_id, player.account_number, json_data.daily_loss_limit
            )
        if json_data.self_excluded_until is not None:
            protection.exclude(connection, player.account_id, player.account_number, json_data.self_excluded_until)
        limits = protection.limits(connection, player.account_id)
    return _shown(limits)


def _shown(limits: protection.Limits) -> LimitsShown:
    zone = current_bank().settings.casino_time_zone
    today = protection.casino_day(limits.read_at, zone)
    return LimitsShown.of(limits, limits.net_today(zone), protection.next_day(today, zone))
