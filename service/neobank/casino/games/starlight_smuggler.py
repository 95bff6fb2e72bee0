"""Starlight Smuggler: five reels, three rows, nine lines, and a scatter that awards five free spins."""

from neobank.casino.game import Bets, Game, Scatter

GAME = Game(
    name="starlight_smuggler",
    rows=3,
    symbols={"R": "🚀", "M": "🗺️", "B": "🔫", "G": "💎", "*": "⭐", "@": "🌀"},
    awards={
        "R": (0, 0, 15, 50, 200),
        "M": (0, 0, 12, 40, 150),
        "B": (0, 0, 10, 30, 100),
        "G": (0, 0, 20, 75, 250),
        "*": (0, 0, 8, 25, 80),
    },
    scatter=Scatter(symbol="@", needed=3, spins=5),
    lines=("00000", "11111", "22222", "01210", "21012", "00122", "22100", "10001", "12221"),
    bets=Bets(minimum=5, maximum=500, step=5),
    tight=(
        "@B*MB*MB*RB*GB*MB*RB*GB*MB*MB*",
        "GMBRGMRGM@GMRGB*RMGRBGMRGMR*MR",
        "*GR*GMRG*BG*@GRMGR*GRBGR*GR*GR",
        "B*RB*MR*MB*RM*BG*@G*RM*BM*BM*BR*BG*@",
        "R*BR*G@*MG*MR*BM*BR*@B*MB*GB*GB*MR*M",
    ),
    loose=(
        "BMGR*MGRB*GM*GM*G@*GR*GRBGR*GR",
        "RM*BG*BG*BG*MGRMG*RG*RG*@G*RG*",
        "MGBMGBMGB*GBRG*RG*RG*RG*RG*@G*",
        "GRB*GBM*@B*@B*MB*GM*GM*RB*MR*BMR*GR*",
        "G*MR*B@*GB*RM*B@*BR*BG*BG*BR*BM*BM*B",
    ),
)
