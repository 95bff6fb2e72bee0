"""`neobank casino …` and `neobank verify-round`: mathematics and proofs that need neither server nor database."""

from collections.abc import Iterator
from decimal import Decimal
from fractions import Fraction

import click

from neobank.casino.exact import DIAL_DEFAULT, DIAL_MAXIMUM, DIAL_MINIMUM, figures
from neobank.casino.game import Game
from neobank.casino.games import GAMES


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
