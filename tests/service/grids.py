"""The distribution of a game's outcomes, from every grid that the game has."""

import itertools
from collections import Counter

from neobank.casino.engine import play
from neobank.casino.game import Game


def walked(game: Game, *, loose: bool) -> Counter[tuple[int, bool]]:
    """Play every combination of stops; count the outcomes by award and whether they award free spins."""
    stops = itertools.product(*(range(len(strip)) for strip in game.strips(loose=loose)))
    return Counter((outcome.award, outcome.triggers) for outcome in (play(game, at, loose=loose) for at in stops))
