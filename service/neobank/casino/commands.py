"""`neobank casino …` and `neobank verify-round`, which need neither a server nor a database."""

import json
from collections.abc import Iterator
from datetime import datetime
from decimal import Decimal
from fractions import Fraction
from typing import BinaryIO

import click

from neobank.casino.exact import DIAL_DEFAULT, DIAL_MAXIMUM, DIAL_MINIMUM, figures
from neobank.casino.game import Game
from neobank.casino.games import GAMES
from neobank.casino.rounds import Round, problems, strip_set
from neobank.ledger.money import format_amount


@click.group("casino")
def casino_group() -> None:
    """The casino's games."""


@casino_group.command("report")
@click.option("--dial", type=Decimal, default=None, help="A payout percentage, 50 to 150; 102 by default.")
def report_command(dial: Decimal | None) -> None:
    """Print each game's exact figures: on the tight strips (dial 50), at the dial, and on the loose strips (150)."""
    dials = sorted({DIAL_MINIMUM, DIAL_DEFAULT if dial is None else in_hundredths(dial), DIAL_MAXIMUM})
    for game in GAMES.values():
        click.echo(f"{game.name}   sheet {game.sheet}")
        for line in _table(game, dials):
            click.echo(f"  {line}")


def in_hundredths(percentage: Decimal) -> int:
    """Convert a payout percentage to hundredths of a per cent. Raise ValueError, with a message for the user."""
    dial = percentage * 100
    if not (dial.is_finite() and DIAL_MINIMUM <= dial <= DIAL_MAXIMUM and dial == int(dial)):
        raise ValueError("a payout percentage must be a number from 50 to 150 with at most two decimals.")
    return int(dial)


def _table(game: Game, dials: list[int]) -> Iterator[str]:
    yield f"{'dial':>7}  {'return':>8}  {'hits':>22}  {'free spins':>10}  {'lines return':>12}  {'sd':>5}  largest win"
    for dial in dials:
        exact = figures(game, dial)
        strips = {DIAL_MINIMUM: " (tight)", DIAL_MAXIMUM: " (loose)"}.get(dial, "")
        yield (
            f"{dial / 100:7.2f}  {exact.returned!s:>8}  {_probability(exact.hits):>22}  {exact.free_spins!s:>10}"
            f"  {exact.line_return!s:>12}  {float(exact.variance) ** 0.5:5.2f}"
            f"  {exact.largest} x the bet per line{strips}"
        )


def _probability(probability: Fraction) -> str:
    return f"{probability} = {float(probability):.2%}"


@click.command("verify-round")
@click.argument("file", type=click.File("rb"), default="-")
def verify_round_command(file: BinaryIO) -> None:
    """Verify a round. FILE contains the response of GET /api/v1/casino/rounds/ID; without FILE, read standard input.

    This needs neither the server nor the database. The round's seed must be revealed: POST /api/v1/casino/seed reveals
    it.
    """
    played = read_round(file.read())
    differences = problems(played)
    if differences:
        raise ValueError(f"round {played.id} does not follow from its seeds: {'; '.join(differences)}.")
    stops = ", ".join(map(str, played.stops))
    strips = strip_set(loose=played.loose)
    click.echo(f"Round {played.id} is correct: {strips} strips, stops {stops}, win {format_amount(played.win)}.")


def read_round(text: bytes) -> Round:
    """Parse a round from the JSON of the API. Raise ValueError if it is not a round."""
    try:
        body = json.loads(text, parse_float=Decimal)
        seed = body["server_seed"]
        return Round(
            id=int(body["id"]),
            played_at=datetime.fromisoformat(body["timestamp"]),
            game=str(body["game"]),
            loose=body["set"] == strip_set(loose=True),
            stops=tuple(map(int, body["stops"])),
            dial=in_hundredths(Decimal(body["dial"])),
            version=int(body["config_version"]),
            sheet=str(body["sheet"]),
            nonce=int(body["nonce"]),
            free=bool(body["was_free_spin"]),
            line_bet=int(body["bet_per_line"] * 100),
            bet=int(body["bet"] * 100),
            win=int(body["win"] * 100),
            awarded=int(body["bonus_spins_awarded"]),
            server_seed_hash=str(body["server_seed_hash"]),
            client_seed=str(body["client_seed"]),
            server_seed=None if seed is None else bytes.fromhex(seed),
        )
    except (KeyError, TypeError, ValueError, ArithmeticError) as error:
        raise ValueError(
            f"the input is not a round: {error!r}. Save the response of GET /api/v1/casino/rounds/ID unchanged."
        ) from None
