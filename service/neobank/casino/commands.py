"""`neobank casino …` and `neobank verify-round`: mathematics and proofs that need neither server nor database."""

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
@click.option("--dial", type=Decimal, default=None, help="Also at this payout percentage, 50 to 150.")
def report_command(dial: Decimal | None) -> None:
    """Print what each game returns, exactly: on the tight strips, the loose ones, and at the dial."""
    dials = sorted({DIAL_MINIMUM, DIAL_DEFAULT if dial is None else in_hundredths(dial), DIAL_MAXIMUM})
    for game in GAMES.values():
        click.echo(f"{game.name}   sheet {game.sheet}")
        for line in _table(game, dials):
            click.echo(f"  {line}")


def in_hundredths(percentage: Decimal) -> int:
    """Turn a payout percentage into hundredths of a per cent. Raises ValueError, in words."""
    dial = percentage * 100
    if not (dial.is_finite() and DIAL_MINIMUM <= dial <= DIAL_MAXIMUM and dial == int(dial)):
        raise ValueError("a payout percentage is a number from 50 to 150 with at most two decimals.")
    return int(dial)


def _table(game: Game, dials: list[int]) -> Iterator[str]:
    yield f"{'dial':>7}  {'return':>8}  {'hits':>22}  {'free spins':>10}  {'lines return':>12}  {'sd':>5}  largest win"
    for dial in dials:
        found = figures(game, dial)
        strips = {DIAL_MINIMUM: " (tight)", DIAL_MAXIMUM: " (loose)"}.get(dial, "")
        yield (
            f"{dial / 100:7.2f}  {found.returned!s:>8}  {_share(found.hits):>22}  {found.free_spins!s:>10}"
            f"  {found.line_return!s:>12}  {float(found.variance) ** 0.5:5.2f}"
            f"  {found.largest} x the bet a line{strips}"
        )


def _share(chance: Fraction) -> str:
    return f"{chance} = {float(chance):.2%}"


@click.command("verify-round")
@click.argument("file", type=click.File("rb"), default="-")
def verify_round_command(file: BinaryIO) -> None:
    """Recompute a round from FILE (standard input without one): what GET /api/v1/casino/rounds/ID answered.

    Neither server nor database is asked. Its seed has to be retired: POST /api/v1/casino/seed reveals it.
    """
    found = read_round(file.read())
    wrong = problems(found)
    if wrong:
        raise ValueError(f"round {found.id} is not what its seeds make of it: {'; '.join(wrong)}.")
    shown = ", ".join(map(str, found.stops))
    strips = strip_set(loose=found.loose)
    click.echo(f"Round {found.id} is right: {strips} strips, stops {shown}, win {format_amount(found.win)}.")


def read_round(text: bytes) -> Round:
    """Read a round as the interface shows it. Raises ValueError where it is none."""
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
        raise ValueError(f"this is not a round as GET /api/v1/casino/rounds/ID shows it: {error!r}.") from None
