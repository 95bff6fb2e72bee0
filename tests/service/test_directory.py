"""Profiles, factions, the lookup of players, and the search in a player's own transactions."""

import pytest
from alembic import command
from flask.testing import FlaskClient
from sqlalchemy import Engine, text

from neobank import migrations
from neobank.payments import search
from neobank.settings import UpgradeSettings
from tests.service.support import Join, LoggedIn, reset_schema

FACTIONS = ["CorpSec", "Runners", "Syndicate", "Technocrats"]


def test_a_profile_update_changes_only_its_fields(player: Join) -> None:
    neo, smith = player("Neo"), player("Smith")
    before = smith.account()
    changed = neo.send("PUT", "/account/profile", faction=" corpsec")
    assert changed.status_code == 200
    assert changed.get_json()["account"] == neo.account()
    assert neo.account()["faction"] == "CorpSec"
    neo.send("PUT", "/account/profile", profile_picture="\U0001f60e", faction=None)
    assert (neo.account()["faction"], neo.account()["profile_picture"]) == ("CorpSec", "\U0001f60e")
    assert neo.send("PUT", "/account/profile", profile_picture=None).status_code == 200
    assert neo.send("PUT", "/account/profile").status_code == 200
    assert neo.account()["profile_picture"] == "\U0001f60e"
    assert smith.account() == before


@pytest.mark.parametrize("left", ["", " "])
def test_a_player_leaves_a_faction_by_an_empty_name(player: Join, left: str) -> None:
    neo = player("Neo")
    neo.send("PUT", "/account/profile", faction="Runners", profile_picture="\U0001f60e")
    answer = neo.send("PUT", "/account/profile", faction=left)
    assert (answer.status_code, answer.get_json()["account"]["faction"]) == (200, None)
    assert neo.account()["profile_picture"] == "\U0001f60e"
    assert neo.send("GET", "/factions").get_json()["factions"] == [
        {"name": name, "member_count": 0} for name in FACTIONS
    ]


PICTURES = [
    "\U0001f60e",
    "\u2764\ufe0f",
    "\u263a",
    "\U0001f44d\U0001f3fd",
    "\U0001f1e9\U0001f1ea",
    "\U0001f469\u200d\U0001f469\u200d\U0001f467\u200d\U0001f466",
    "\U0001f3f4\U000e0067\U000e0062\U000e0073\U000e0063\U000e0074\U000e007f",
    "\U0001f3f3\ufe0f\u200d\U0001f308",
    "3\ufe0f\u20e3",
]
NO_PICTURES = [
    "A",
    "7",
    "neo",
    "\u00e9",
    "\U0001f60e\U0001f60e",
    "\U0001f60e!",
    "\U0001f1e9",
    "\U0001f60e\u200d",
    "\u200d",
    "\ufe0f",
    "http://pictures.example/neo.png",
    "https://pictures.example/neo.png",
    "https://10.0.0.1/neo.png",
    "/api/v1/pictures/AAAAAAAAAAAAAAAAAAAAAA",
    "javascript:alert(1)",
    "data:image/png;base64,AAAA",
    "//pictures.example/neo.png",
    "https://",
    "https:///neo.png",
    "https://localhost/neo.png",
    "https://user:secret@pictures.example/neo.png",
    "https://pictures.example/a b",
    "https://pictures.example/\"onload='x'",
    "https://pictures.example/<script>",
    "https://pictures.example/\nneo.png",
    "https://pictures.example\\@evil.example",
    "https://pictures.example/" + "x" * 500,
]


def test_a_picture_in_a_profile_is_one_emoji(player: Join) -> None:
    neo = player("Neo")
    for picture in PICTURES:
        answer = neo.send("PUT", "/account/profile", profile_picture=picture)
        assert answer.status_code == 200, (picture, answer.text)
        assert answer.get_json()["account"]["profile_picture"] == picture
    for no_picture in NO_PICTURES:
        answer = neo.send("PUT", "/account/profile", profile_picture=no_picture)
        assert answer.status_code == 400, no_picture
        assert "profile_picture" in answer.get_json()["detail"]
    assert neo.account()["profile_picture"] == PICTURES[-1]


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"faction": "Zion"}, "CorpSec, Runners, Syndicate, Technocrats"),
        ({"faction": "x" * 51}, "faction"),
        ({"faction": 5}, "faction"),
        ({"faction": "\x00"}, "faction"),
        ({"profile_picture": 5}, "profile_picture"),
        ({"is_admin": True}, "is_admin"),
        ({"balance": 5}, "balance"),
        ({"faction": "Runners", "profile_picture": "x"}, "profile_picture"),
        ({"faction": "Zion", "profile_picture": "\U0001f60e"}, "Zion"),
    ],
)
def test_a_rejected_profile_changes_nothing(player: Join, change: dict[str, object], named: str) -> None:
    neo = player("Neo")
    before = neo.account()
    answer = neo.send("PUT", "/account/profile", **change)
    assert answer.status_code == 400
    assert named in answer.get_json()["detail"]
    assert neo.account() == before


def test_registration_accepts_existing_factions_only(client: FlaskClient) -> None:
    who = {"character_name": "Neo", "password": "white rabbit"}
    refused = client.post("/api/v1/auth/register", json=who | {"faction": "Zion"})
    assert refused.status_code == 400
    assert all(faction in refused.get_json()["detail"] for faction in FACTIONS)
    joined = client.post("/api/v1/auth/register", json=who | {"faction": "\uff32UNNERS"})
    assert (joined.status_code, joined.get_json()["user"]["faction"]) == (201, "Runners")


def test_factions_are_listed_with_their_member_counts(player: Join) -> None:
    neo, trinity = player("Neo"), player("Trinity")
    for member in (neo, trinity):
        member.send("PUT", "/account/profile", faction="Runners")
    answer = neo.send("GET", "/factions")
    assert answer.get_json() == {
        "factions": [{"name": name, "member_count": 2 if name == "Runners" else 0} for name in FACTIONS]
    }


def test_the_migration_keeps_factions_and_merges_equal_spellings(owner: Engine, upgraded: UpgradeSettings) -> None:
    config = migrations._config()
    before = ["CorpSec", "corpsec ", "Zion", "ZION", "Zion", None]
    reset_schema(owner)
    with owner.begin() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, "0002")
        for name, faction in enumerate(before):
            connection.execute(
                text(
                    "WITH opened AS (INSERT INTO accounts (number, name, name_key) VALUES (:name, :name, :name)"
                    " RETURNING id), held AS (INSERT INTO balances (account_id, shard, floor)"
                    " SELECT id, 0, 0 FROM opened)"
                    " INSERT INTO players (account_id, password_hash, faction) SELECT id, 'x', :faction FROM opened"
                ),
                {"name": str(name), "faction": faction},
            )
    migrations.upgrade(upgraded)
    with owner.connect() as connection:
        found = connection.execute(text("SELECT faction FROM players WHERE account_id <= 6 ORDER BY account_id"))
        assert found.scalars().all() == ["CorpSec", "CorpSec", "ZION", "ZION", "ZION", None]
        factions = connection.execute(text("SELECT name FROM factions ORDER BY name")).scalars().all()
        assert factions == sorted([*FACTIONS, "ZION"])
    with owner.begin() as connection:
        connection.execute(text("DELETE FROM factions WHERE name = 'ZION'"))


@pytest.mark.parametrize("by", ["account_number", "name"])
def test_a_player_is_found_by_number_or_name(player: Join, by: str) -> None:
    neo, trinity = player("Neo"), player("Trinity")
    trinity.send("PUT", "/account/profile", faction="Runners", profile_picture="\U0001f576")
    value = {"account_number": f" {trinity.number.lower()}", "name": " \uff34RINITY"}[by]
    answer = neo.send("GET", "/players/lookup", **{by: value})
    assert answer.status_code == 200
    assert answer.get_json() == {
        "character_name": "Trinity",
        "account_number": trinity.number,
        "faction": "Runners",
        "profile_picture": "\U0001f576",
    }


@pytest.mark.parametrize(
    ("query", "status"),
    [
        ({"name": "Nobody"}, 404),
        ({"name": "Trin"}, 404),
        ({"name": "%"}, 404),
        ({"name": "SYSTEM"}, 404),
        ({"name": "casino house"}, 404),
        ({"account_number": "NC-SYST-EM00"}, 404),
        ({"account_number": "NC-NONE-0000"}, 404),
        ({"account_number": "NC-NONE-0000", "name": ""}, 404),
        ({}, 400),
        ({"name": "", "account_number": ""}, 400),
        ({"name": "Neo", "account_number": "NC-NONE-0000"}, 400),
        ({"name": "x" * 101}, 400),
        ({"name": "\x00"}, 400),
        ({"id": "1"}, 400),
    ],
)
def test_an_unknown_or_invalid_lookup_is_rejected(player: Join, query: dict[str, str], status: int) -> None:
    neo = player("Neo")
    player("Trinity")
    answer = neo.send("GET", "/players/lookup", **query)
    assert (answer.status_code, answer.content_type) == (status, "application/problem+json")


def found(of: LoggedIn, q: str, **more: object) -> list[float]:
    answer = of.send("GET", "/account/transactions/search", q=q, **more)
    assert (answer.status_code, answer.get_json()["query"]) == (200, q)
    return [transaction["amount"] for transaction in answer.get_json()["transactions"]]


def test_a_search_matches_folded_memo_number_and_name_newest_first(player: Join) -> None:
    neo, trinity, smith = player("Neo"), player("Trinity"), player("Agent Sm\u00efth")
    for amount, to, memo in [
        (1, trinity, "Stra\u00dfe 100%"),
        (2, smith, "\uff28otel"),
        (3, trinity, ""),
        (4, smith, "STRASSE_1"),
    ]:
        assert neo.pay(to.number, amount, memo=memo).status_code == 201
    smith.pay(trinity.number, 5, memo="strasse of others")
    assert found(neo, "stra\u00dfe") == [4, 1]
    assert found(neo, "STRASSE", limit=1) == [4]
    assert found(neo, "hotel") == [2]
    assert found(neo, "%") == [1]
    assert found(neo, "_") == [4]
    assert found(neo, "trin") == [3, 1]
    assert found(neo, "SM\u00cfTH") == [4, 2]
    assert found(neo, smith.number.lower()) == [4, 2]
    assert found(neo, "system") == [1000]
    assert found(neo, "Neo") == []
    assert found(trinity, "neo") == [3, 1]
    assert found(smith, "others") == [5]
    assert found(neo, "others") == []
    whole = neo.send("GET", "/account/transactions").get_json()["transactions"]
    assert neo.send("GET", "/account/transactions/search", q="trin").get_json()["transactions"] == [whole[1], whole[3]]


def test_a_search_covers_the_newest_transactions_only(player: Join, monkeypatch: pytest.MonkeyPatch) -> None:
    neo, trinity = player("Neo"), player("Trinity")
    for amount in (1, 2, 3):
        neo.pay(trinity.number, amount)
    monkeypatch.setattr(search, "SEARCHED", 2)
    assert found(neo, "trinity") == [3, 2]


@pytest.mark.parametrize(
    "query",
    [
        {},
        {"q": ""},
        {"q": " \u3000"},
        {"q": "x" * 141},
        {"q": "\x00"},
        {"q": "x", "limit": "0"},
        {"q": "x", "limit": "101"},
        {"q": "x", "limit": "many"},
        {"q": "x", "account": "NC-NONE-0000"},
    ],
)
def test_an_invalid_search_is_rejected(player: Join, query: dict[str, str]) -> None:
    answer = player("Neo").send("GET", "/account/transactions/search", **query)
    assert (answer.status_code, answer.content_type) == (400, "application/problem+json")


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/account/transactions/search?q=x"),
        ("GET", "/factions"),
        ("GET", "/players/lookup?name=x"),
        ("PUT", "/account/profile"),
        ("PUT", "/account/password"),
        ("GET", "/account/sessions"),
        ("DELETE", "/account/sessions"),
        ("DELETE", "/account/sessions/1"),
    ],
)
def test_a_request_without_a_session_is_rejected(client: FlaskClient, method: str, path: str) -> None:
    assert client.open("/api/v1" + path, method=method, json={}).status_code == 401
