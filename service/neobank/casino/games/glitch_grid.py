"""Glitch Grid: three reels, one row, a wild and a blank. A spin pays only its single highest award."""

from neobank.casino.game import Bets, Game

GAME = Game(
    name="glitch_grid",
    rows=1,
    symbols={"S": "💀", "0": "01", "P": "🔌", "X": "㊙️", "#": "🏢", ".": "▒"},
    awards={"S": (0, 5, 50), "0": (0, 3, 30), "P": (0, 2, 20), "X": (0, 4, 40), "#": (0, 10, 100)},
    wild="#",
    lines=("000",),
    bets=Bets(minimum=10, maximum=1000, step=10),
    tight=(
        ".P.X.P0S..P..PX..P#.0SP..XP..P..0SP.X.P.",
        ".P..P0SX..P..P..P.#0SX.P..P..P..0SXP..P.",
        "..0.X.S.0....0X...#0PS...X0....0.S.X.0..",
    ),
    loose=(
        "0P.X0PS0P.0PX0P.0P#0SXP0.P0XP0.P0SP0X.P0",
        "P0XP0.SP0#PX0P0PX0P.SP0XP0P0#PX0P.S0PX0P",
        "...S.0X...P.S.....#0SX.....S..P..0X.S...",
    ),
)
