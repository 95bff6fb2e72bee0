"""The casino's routes return every documented field, and document every status."""

from dataclasses import replace

import pytest
from flask.testing import FlaskClient
from sqlalchemy import Engine, text

from neobank.application import create_app
from neobank.settings import Limit, ServingSettings
from tests.service.gambling import GLITCH, STARLIGHT, played, rotate, spin
from tests.service.support import LoggedIn, bank_of

ROUND = {
    *("id", "timestamp", "game", "set", "stops", "grid", "dial", "config_version", "sheet", "nonce", "client_seed"),
    *("server_seed_hash", "server_seed", "was_free_spin", "bet_per_line", "bet", "win", "win_multiplier"),
    "bonus_spins_awarded",
}
GAME = {
    *("game_name", "is_open", "symbols", "wild", "scatter", "rows", "reels", "lines", "paytable", "bets", "versions"),
    *(
        "payout_percentage",
        "config_version",
        "exact_return",
        "hit_frequency",
        "free_spins_chance",
        "largest_win",
        "sheet",
    ),
}
SEEDS = {"server_seed_hash", "client_seed", "nonce", "next_server_seed_hash"}
LIMITS = {
    "daily_loss_limit",
    "self_excluded_until",
    "net_today",
    "day_ends",
    "pending_daily_loss_limit",
    "pending_from",
}
CONFIG = {"game_name", "is_enabled", "payout_percentage", "config_version", "updated_at", "exact_return"}


def test_each_route_returns_its_fields(organiser: LoggedIn, neo: LoggedIn) -> None:
    rounds = [played(neo, GLITCH, 10)["round"], played(neo, STARLIGHT, 5)["round"]]
    page = neo.send("GET", "/casino/rounds").get_json()
    assert set(page) == {"rounds", "next"}
    assert page["rounds"] == [neo.send("GET", f"/casino/rounds/{it}").get_json() for it in reversed(rounds)]
    assert [set(it) for it in page["rounds"]] == [ROUND, ROUND]
    assert [(it["game"], len(it["stops"]), len(it["grid"])) for it in page["rounds"]] == [
        ("starlight_smuggler", 5, 3),
        ("glitch_grid", 3, 1),
    ]
    games = neo.send("GET", "/casino/games").get_json()["games"]
    assert [set(it) for it in games] == [GAME, GAME]
    assert [it["exact_return"] for it in games] == ["51/50", "51/50"]
    assert [len(it["lines"]) for it in games] == [1, 9]
    assert set(neo.send("GET", "/casino/seed").get_json()) == SEEDS
    assert set(rotate(neo, client_seed="mine")) == SEEDS | {"revealed"}
    assert set(neo.send("GET", "/account/limits").get_json()) == LIMITS
    assert set(neo.send("PUT", "/account/limits", daily_loss_limit=10).get_json()) == LIMITS
    config = organiser.administer("GET", "/casino/config").get_json()["games"]
    assert [set(it) for it in config] == [CONFIG, CONFIG]


@pytest.mark.parametrize(
    ("method", "path", "statuses"),
    [
        ("post", "/api/v1/casino/glitch-grid/spin", {"200", "400", "401", "403", "409", "422", "429"}),
        ("post", "/api/v1/casino/starlight-smuggler/spin", {"200", "400", "401", "403", "409", "422", "429"}),
        ("get", "/api/v1/casino/games", {"200", "401"}),
        ("get", "/api/v1/casino/rounds", {"200", "400", "401"}),
        ("get", "/api/v1/casino/rounds/{round_id}", {"200", "401", "404"}),
        ("get", "/api/v1/casino/seed", {"200", "401"}),
        ("post", "/api/v1/casino/seed", {"200", "400", "401", "429"}),
        ("get", "/api/v1/casino/sheets/{sheet}", {"200", "404"}),
        ("get", "/api/v1/account/limits", {"200", "401"}),
        ("put", "/api/v1/account/limits", {"200", "400", "401"}),
        ("get", "/api/admin/casino/config", {"200", "401", "403"}),
        ("put", "/api/admin/casino/config/{game_name}", {"200", "400", "401", "403", "404"}),
        ("put", "/api/admin/users/{number}/exclusion", {"200", "400", "401", "403", "404"}),
    ],
)
def test_each_status_is_documented(client: FlaskClient, method: str, path: str, statuses: set[str]) -> None:
    document = client.get("/openapi.json").get_json()
    assert set(document["paths"][path][method]["responses"]) >= statuses


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/casino/glitch-grid/spin"),
        ("POST", "/casino/starlight-smuggler/spin"),
        ("GET", "/casino/games"),
        ("GET", "/casino/rounds"),
        ("GET", "/casino/rounds/1"),
        ("GET", "/casino/seed"),
        ("POST", "/casino/seed"),
        ("GET", "/account/limits"),
        ("PUT", "/account/limits"),
    ],
)
def test_a_request_without_a_session_is_rejected(client: FlaskClient, method: str, path: str) -> None:
    stranger = LoggedIn(client, "", {})
    assert stranger.send(method, path).status_code == 401


def test_spins_of_both_games_share_a_rate_limit_and_seeds_have_their_own(
    settings: ServingSettings, owner: Engine, neo: LoggedIn
) -> None:
    with owner.begin() as connection:
        connection.execute(text("TRUNCATE rate_limit_counters"))
    worker = create_app(replace(settings, rate_limits={Limit.SPINS: "2/day", Limit.SEEDS: "1/day"}))
    phone = replace(neo, client=worker.test_client())
    assert [spin(phone, game, 10)[0] for game in (GLITCH, STARLIGHT, GLITCH, STARLIGHT)] == [200, 200, 429, 429]
    assert [phone.send("POST", "/casino/seed").status_code for _ in range(2)] == [200, 429]
    assert len(phone.send("GET", "/casino/rounds").get_json()["rounds"]) == 2
    bank_of(worker).engine.dispose()
