"""The casino over HTTP: the response of a spin, its transfers and its record, and rejections that change nothing."""

import hashlib
import json

import pytest
from flask import Flask
from flask.testing import FlaskClient
from sqlalchemy import Engine, text

from neobank.casino.commands import read_round
from neobank.casino.games import GAMES
from neobank.casino.rounds import problems
from neobank.ledger.models import HOUSE_NUMBER
from neobank.settings import UpgradeSettings
from tests.service.gambling import (
    GLITCH,
    STARLIGHT,
    configure,
    give,
    house,
    played,
    rotate,
    seed_that,
    set_seed,
    spin,
)
from tests.service.statements import recorded
from tests.service.support import Join, LoggedIn, bank_of

pytestmark = pytest.mark.usefixtures("fair")


def test_a_spin_returns_every_field_and_moves_exactly_its_bet_and_win(neo: LoggedIn) -> None:
    glitch, starlight = played(neo, GLITCH, 10), played(neo, STARLIGHT, 5)
    assert set(glitch) == {
        *("reels", "bet", "win_multiplier", "win_amount", "winning_lines", "balance", "round", "net_today"),
    }
    assert len(glitch["reels"]) == 3  # type: ignore[arg-type]
    assert glitch["winning_lines"] == []
    assert glitch["balance"] == 1000 - 10 + glitch["win_amount"]  # type: ignore[operator]
    assert set(starlight) == {
        *("grid", "bet_per_line", "total_bet", "win_multiplier", "win_amount", "winning_lines", "scatter_count"),
        *("bonus_spins_awarded", "free_spins_remaining", "was_free_spin", "balance", "round", "net_today"),
    }
    assert [len(row) for row in starlight["grid"]] == [5, 5, 5]  # type: ignore[attr-defined]
    assert (starlight["bet_per_line"], starlight["total_bet"], starlight["was_free_spin"]) == (5, 45, False)
    assert neo.balance() == starlight["balance"]
    assert starlight["net_today"] == 1000 - starlight["balance"]


@pytest.mark.parametrize(("game", "line"), [(GLITCH, 10), (STARLIGHT, 5)])
def test_a_win_is_paid_and_the_history_has_the_bet_and_the_win(
    owner: Engine, neo: LoggedIn, game: str, line: int
) -> None:
    set_seed(owner, neo, seed_that(neo.number, game, lambda award, triggers: award >= 15 and not triggers))
    body = played(neo, game, line)
    bet = body.get("total_bet", body.get("bet"))
    won = body["win_amount"]
    assert won == body["win_multiplier"] * line  # type: ignore[operator]
    newest = neo.send("GET", "/account/transactions").get_json()["transactions"][:2]
    assert [(it["type"], it["amount"], it["from_account"], it["to_account"]) for it in newest] == [
        ("casino_win", won, HOUSE_NUMBER, neo.number),
        ("casino_bet", bet, neo.number, HOUSE_NUMBER),
    ]
    assert str(body["round"]) in newest[0]["memo"]
    if game == STARLIGHT:
        lines = body["winning_lines"]
        assert sum(it["multiplier"] for it in lines) == body["win_multiplier"]  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("game", "bet"),
    [
        (GLITCH, 9),
        (GLITCH, 15),
        (GLITCH, 10.5),
        (GLITCH, 0),
        (GLITCH, -10),
        (GLITCH, 1010),
        (GLITCH, "10"),
        (GLITCH, True),
        (GLITCH, None),
        (STARLIGHT, 4),
        (STARLIGHT, 6),
        (STARLIGHT, 505),
        (STARLIGHT, 5.01),
    ],
)
def test_an_invalid_bet_changes_nothing(neo: LoggedIn, game: str, bet: object) -> None:
    status, body = spin(neo, game, bet)
    assert status == 400
    assert neo.balance() == 1000
    assert neo.send("GET", "/casino/rounds").get_json()["rounds"] == []
    assert "bet" in str(body["detail"]).lower()


def test_a_bet_above_the_balance_is_rejected_even_if_it_would_win(owner: Engine, neo: LoggedIn) -> None:
    set_seed(owner, neo, seed_that(neo.number, STARLIGHT, lambda award, _: award >= 50))
    status, body = spin(neo, STARLIGHT, 500)
    assert (status, neo.balance()) == (400, 1000)
    assert "¤4500.00" in str(body["detail"])
    assert neo.send("GET", "/casino/seed").get_json()["nonce"] == 0
    assert played(neo, STARLIGHT, 5)["win_multiplier"] >= 50  # type: ignore[operator]  # the round of the rejected spin


def test_one_idempotency_key_plays_one_round(neo: LoggedIn) -> None:
    answers = [spin(neo, GLITCH, 10, key="first") for _ in range(3)]
    assert answers[0] == answers[1] == answers[2]
    assert neo.send("GET", "/casino/seed").get_json()["nonce"] == 1
    assert spin(neo, GLITCH, 20, key="first")[0] == 422
    assert spin(neo, STARLIGHT, 10, key="first")[0] == 422


@pytest.mark.parametrize(("key", "statements"), [(None, 3), ("once", 5)])
def test_a_spin_sends_three_statements_and_five_with_a_key(
    app: Flask, neo: LoggedIn, key: str | None, statements: int
) -> None:
    """Authentication, the state that a spin depends on, and its settlement; with a key, claim and response."""
    played(neo, GLITCH, 10)
    with recorded(bank_of(app).engine) as sent:
        assert spin(neo, GLITCH, 10, key)[0] == 200
    assert len(sent) == statements, sent


def test_free_spins_use_the_terms_of_the_awarding_round_and_award_none(
    owner: Engine, organiser: LoggedIn, neo: LoggedIn
) -> None:
    set_seed(owner, neo, seed_that(neo.number, STARLIGHT, lambda _, triggers: triggers))
    first = played(neo, STARLIGHT, 10)
    assert (first["bonus_spins_awarded"], first["free_spins_remaining"], neo.account()["free_spins"]) == (5, 5, 5)
    version = neo.send("GET", f"/casino/rounds/{first['round']}").get_json()["config_version"]
    assert configure(organiser, "starlight_smuggler", payout_percentage=50)[0] == 200
    rotate(neo, client_seed="another")
    before = neo.balance()
    for left in (4, 3, 2, 1, 0):
        assert spin(neo, STARLIGHT, 7)[0] == 400  # the bet of the request is still validated
        body = played(neo, STARLIGHT, 500)
        shown = neo.send("GET", f"/casino/rounds/{body['round']}").get_json()
        assert (body["was_free_spin"], body["total_bet"], body["bet_per_line"]) == (True, 0, 10)
        assert (body["free_spins_remaining"], body["bonus_spins_awarded"]) == (left, 0)
        assert (shown["dial"], shown["config_version"], shown["bet"]) == (102, version, 0)
        before += body["win_amount"]  # type: ignore[operator]
        assert body["balance"] == before
    assert neo.account()["free_spins"] == 0
    body = played(neo, STARLIGHT, 5)
    assert (body["was_free_spin"], body["total_bet"]) == (False, 45)
    assert neo.send("GET", f"/casino/rounds/{body['round']}").get_json()["dial"] == 50


def test_free_spins_remain_while_the_game_is_closed_or_the_house_cannot_pay(
    owner: Engine, organiser: LoggedIn, neo: LoggedIn, fresh: UpgradeSettings
) -> None:
    set_seed(owner, neo, seed_that(neo.number, STARLIGHT, lambda _, triggers: triggers))
    played(neo, STARLIGHT, 10)
    configure(organiser, "starlight_smuggler", is_enabled=False)
    assert spin(neo, STARLIGHT, 10)[0] == 400
    configure(organiser, "starlight_smuggler", is_enabled=True)
    held = house(owner)
    give(organiser, HOUSE_NUMBER, -(held - 10_000) / 100)
    assert spin(neo, STARLIGHT, 10)[0] == 409
    assert neo.account()["free_spins"] == 5
    give(organiser, HOUSE_NUMBER, fresh.house_bankroll / 100)
    assert played(neo, STARLIGHT, 10)["free_spins_remaining"] == 4


@pytest.mark.parametrize(("spare", "status"), [(0, 200), (-1, 409)])
def test_a_spin_requires_that_the_house_holds_the_largest_win(
    owner: Engine, organiser: LoggedIn, neo: LoggedIn, spare: int, status: int
) -> None:
    """The largest win of a bet of ¤10 is ¤1000, and the bet adds ¤10 to the house. The outcome does not matter."""
    for wanted in (lambda award, _: award == 0, lambda award, _: award > 0):
        set_seed(owner, neo, seed_that(neo.number, GLITCH, wanted))
        give(organiser, HOUSE_NUMBER, (99_000 + spare - house(owner)) / 100)
        given, body = spin(neo, GLITCH, 10)
        assert given == status, body
        if status == 409:
            assert "¤1000.00" in str(body["detail"])
        rotate(neo, client_seed=neo.number)


def test_a_game_closes_at_once_and_the_status_lists_open_games(
    client: FlaskClient, organiser: LoggedIn, neo: LoggedIn
) -> None:
    assert client.get("/api/v1/status").get_json()["games"] == ["glitch_grid", "starlight_smuggler"]
    status, body = configure(organiser, "glitch_grid", is_enabled=False)
    assert (status, body["game"]["is_enabled"]) == (200, False)  # type: ignore[index]
    assert client.get("/api/v1/status").get_json()["games"] == ["starlight_smuggler"]
    assert spin(neo, GLITCH, 10)[0] == 400
    games = {it["game_name"]: it["is_open"] for it in neo.send("GET", "/casino/games").get_json()["games"]}
    assert games == {"glitch_grid": False, "starlight_smuggler": True}
    assert spin(neo, STARLIGHT, 5)[0] == 200


def test_no_round_is_played_while_the_bank_is_read_only(organiser: LoggedIn, neo: LoggedIn) -> None:
    organiser.client.put("/api/admin/switches", json={"read_only": True}, headers=organiser.headers)
    assert spin(neo, GLITCH, 10)[0] == 403


def test_each_change_of_the_dial_creates_a_version_and_an_audit_row(organiser: LoggedIn, neo: LoggedIn) -> None:
    _, before = configure(organiser, "glitch_grid")
    dials = [50, 150, 99.99, 99.99, 102]
    answers = [configure(organiser, "glitch_grid", payout_percentage=dial) for dial in dials]
    assert [float(body["game"]["payout_percentage"]) for _, body in answers] == dials  # type: ignore[index]
    body = answers[-1][1]
    assert body["game"]["exact_return"] == "51/50"  # type: ignore[index]
    listed = neo.send("GET", "/casino/games").get_json()["games"][0]
    assert [float(it["payout_percentage"]) for it in listed["versions"]] == [102, 50, 150, 99.99, 102]
    assert listed["config_version"] == listed["versions"][-1]["version"] == body["game"]["config_version"]  # type: ignore[index]
    assert before["game"]["config_version"] == listed["versions"][0]["version"]  # type: ignore[index]
    logs = organiser.administer("GET", "/audit-logs").get_json()["logs"]
    assert [float(it["data"]["payout_percentage"]) for it in logs if it["action"] == "set_game"][:2] == [102, 99.99]


@pytest.mark.parametrize("dial", [49.99, 150.01, 100.001, "100", True, -1, 1e300])
def test_an_invalid_dial_is_rejected(organiser: LoggedIn, dial: object) -> None:
    assert configure(organiser, "glitch_grid", payout_percentage=dial)[0] == 400
    listed = organiser.administer("GET", "/casino/config").get_json()["games"]
    assert [it["payout_percentage"] for it in listed] == [102, 102]


def test_only_organisers_configure_games(organiser: LoggedIn, neo: LoggedIn) -> None:
    assert configure(neo, "glitch_grid", is_enabled=False)[0] == 403
    assert configure(organiser, "roulette", is_enabled=False)[0] == 404


def test_only_its_player_sees_a_round_and_its_seed_after_rotation(
    player: Join, organiser: LoggedIn, neo: LoggedIn
) -> None:
    committed = neo.send("GET", "/casino/seed").get_json()
    rounds = [played(neo, GLITCH, 10)["round"], played(neo, STARLIGHT, 5)["round"]]
    shown = [neo.send("GET", f"/casino/rounds/{it}").get_json() for it in rounds]
    assert [it["nonce"] for it in shown] == [0, 1]
    assert {it["server_seed_hash"] for it in shown} == {committed["server_seed_hash"]}
    assert {it["server_seed"] for it in shown} == {None}
    assert player("Trinity").send("GET", f"/casino/rounds/{rounds[0]}").status_code == 404
    assert organiser.send("GET", f"/casino/rounds/{rounds[0]}").status_code == 404
    old = rotate(neo, client_seed="chosen")
    revealed = old["revealed"]
    assert isinstance(revealed, dict)
    assert revealed["rounds"] == 2
    seed = bytes.fromhex(revealed["server_seed"])
    assert hashlib.sha256(seed).hexdigest() == committed["server_seed_hash"]
    assert old["server_seed_hash"] == committed["next_server_seed_hash"]
    assert (old["client_seed"], old["nonce"]) == ("chosen", 0)
    for it in rounds:
        kept = neo.client.get(f"/api/v1/casino/rounds/{it}", headers=neo.headers)
        assert problems(read_round(kept.data)) == []
        assert kept.get_json()["server_seed"] == seed.hex()
    assert neo.send("GET", "/casino/seed").get_json() == {key: old[key] for key in committed}


@pytest.mark.parametrize("client_seed", ["a b", "x" * 65, "\u00e9", "\x7f", "tab\t", 5, "line\n"])
def test_an_invalid_client_seed_is_rejected(neo: LoggedIn, client_seed: object) -> None:
    before = neo.send("GET", "/casino/seed").get_json()
    assert neo.send("POST", "/casino/seed", client_seed=client_seed).status_code == 400
    assert neo.send("GET", "/casino/seed").get_json() == before


def test_rotation_without_a_client_seed_keeps_the_previous_one(neo: LoggedIn) -> None:
    assert rotate(neo, client_seed="mine")["client_seed"] == "mine"
    assert rotate(neo, client_seed="")["client_seed"] == "mine"
    assert rotate(neo)["client_seed"] == "mine"


def test_no_response_contains_a_seed_in_use(owner: Engine, organiser: LoggedIn, neo: LoggedIn) -> None:
    played(neo, GLITCH, 10)
    with owner.connect() as connection:
        used = [bytes(it).hex() for it in connection.execute(text("SELECT server_seed FROM seeds")).scalars()]
    paths = ["/casino/seed", "/casino/rounds", "/casino/rounds/1", "/casino/games", "/account", "/account/limits"]
    paths += ["/account/transactions", "/status", "/account/sessions"]
    responses = "".join(neo.send("GET", path).text for path in paths)
    admin = ["stats", "casino/config", "audit-logs", "transactions", f"users/{neo.number}"]
    responses += "".join(organiser.administer("GET", f"/{it}").text for it in admin)
    assert len(used) == 2
    assert not [seed for seed in used if seed in responses]


def test_rounds_are_paginated(neo: LoggedIn) -> None:
    rounds = [played(neo, GLITCH, 10)["round"] for _ in range(5)]
    seen: list[object] = []
    query: dict[str, object] = {"limit": 2}
    while True:
        page = neo.send("GET", "/casino/rounds", **query).get_json()
        seen += [it["id"] for it in page["rounds"]]
        if page["next"] is None:
            break
        query["before"] = page["next"]
    assert seen == rounds[::-1]


def test_a_sheet_is_served_as_the_bytes_that_were_hashed(client: FlaskClient) -> None:
    for game in GAMES.values():
        answer = client.get(f"/api/v1/casino/sheets/{game.sheet}")
        assert hashlib.sha256(answer.data).hexdigest() == game.sheet
        assert json.loads(answer.data)["name"] == game.name
    assert client.get("/api/v1/casino/sheets/00").status_code == 404


def test_organisers_adjust_the_house_by_an_audited_transfer(owner: Engine, organiser: LoggedIn) -> None:
    before = house(owner)
    status, body = give(organiser, HOUSE_NUMBER.lower(), 1234.56)
    assert status == 200, body
    assert house(owner) == before + 123_456
    assert give(organiser, HOUSE_NUMBER, -1234.56)[0] == 200
    assert give(organiser, HOUSE_NUMBER, -(before + 1) / 100)[0] == 400
    assert house(owner) == before
    logs = organiser.administer("GET", "/audit-logs").get_json()["logs"]
    assert [it["target"] for it in logs[:2]] == [HOUSE_NUMBER, HOUSE_NUMBER]


@pytest.mark.parametrize(
    "statement",
    [
        "SELECT server_seed FROM seeds",
        "SELECT * FROM seeds",
        "UPDATE casino_players SET nonce = 0",
        "UPDATE rounds SET win = 1",
        "DELETE FROM rounds",
        "INSERT INTO dial_versions (game, dial, actor_id) VALUES ('glitch_grid', 15000, 1)",
        "UPDATE dial_versions SET dial = 15000",
        "UPDATE free_spins SET remaining = 5",
        "UPDATE games SET is_enabled = false",
        "SELECT change_house(0, -1, 1)",
        "SELECT change_player(1, 0, 1, 1)",
        "SELECT renew_seeds(1, '', '')",
    ],
)
def test_the_serving_role_can_change_casino_tables_only_through_functions(engine: Engine, statement: str) -> None:
    with pytest.raises(Exception, match="permission denied"), engine.begin() as connection:
        connection.execute(text(statement))
