# ruff: noqa: RUF001  # letters that look alike are what these tests are about
"""Names: which ones may be given, and which look like a name that another account has."""

from dataclasses import replace

import pytest
from flask.testing import FlaskClient
from sqlalchemy import Engine, text
from werkzeug.test import TestResponse

from neobank import migrations, names
from neobank.settings import Administrator, UpgradeSettings
from tests.service.support import ADMINISTRATOR, Join, LoggedIn, log_in

# U+034F, U+FE0F, U+3164, U+115F, U+200B, U+00AD and U+17B4 are ignorable; U+2800 and U+1D159 are blank symbols.
INVISIBLE = [*"\u034f\ufe0f\u3164\u2800\u115f\uffa0\u200b\u00ad\u17b4", "\U0001d159", "\U000e0100", "\x07", "\ue000"]
VISIBLE = ["Игорь", "ناصر", "नमस्ते", "綾波", "Ζήνων", "Zoë", "O'Neil", "Neo 🎲", "$mart|est", "Dr. =X= #7", "Ａda"]
LOOK_ALIKES = [
    ("Organiser", "Оrganiser"),
    ("Organiser", "ОRGANISER"),
    ("Organiser", "0rganiser"),
    ("Organiser", "organlser"),
    ("Organiser", "ORGANlSER"),
    ("SYSTEM", "ЅΥЅТЕМ"),
    ("CASINO HOUSE", "САЅІNО НОUЅЕ"),
    ("CASINO HOUSE", "CASlN0\u3000H0USE"),
    ("Neo", "Nео"),
    ("Marie", "Rnarie".lower()),
    ("Игорь", "Игopь"),
]
DIFFERENT = [("Neo", "Nea"), ("Muller", "Müller"), ("Neo 2", "Neo 3"), ("Игорь", "Игорек"), ("Neo", "Ne o")]


def register(client: FlaskClient, name: str) -> TestResponse:
    return client.post("/api/v1/auth/register", json={"character_name": name, "password": "white rabbit"})


@pytest.mark.parametrize("character", INVISIBLE, ids=ascii)
def test_a_new_name_has_no_invisible_character(
    client: FlaskClient, organiser: LoggedIn, upgraded: UpgradeSettings, character: str
) -> None:
    for name in (character, f"Neo{character}", f"N{character}eo"):
        assert register(client, name).status_code == 400, ascii(name)
        assert organiser.administer("POST", "/factions/create", name=name).status_code == 400
        listed = client.post(
            "/api/admin/users/import", data=f"name\n{name}\n", content_type="text/csv", headers=organiser.headers
        )
        assert listed.status_code == 400
        with pytest.raises(ValueError, match="name"):
            migrations.upgrade(replace(upgraded, administrator=Administrator(name, "cookies, hot")))


@pytest.mark.parametrize("name", ["...", "\u0301", "🎲", " - "])
def test_a_new_name_has_a_letter_or_a_digit(client: FlaskClient, name: str) -> None:
    assert register(client, name).status_code == 400


@pytest.mark.parametrize("name", VISIBLE)
def test_a_name_may_be_of_any_script(client: FlaskClient, name: str) -> None:
    assert register(client, name).status_code == 201
    log_in(client, name, "white rabbit")


@pytest.mark.parametrize(("taken", "name"), LOOK_ALIKES)
def test_a_new_name_that_looks_like_another_one_is_refused(
    client: FlaskClient, organiser: LoggedIn, taken: str, name: str
) -> None:
    if taken not in {"SYSTEM", "CASINO HOUSE", ADMINISTRATOR.name}:
        assert register(client, taken).status_code == 201
    refused = register(client, name)
    assert refused.status_code == 400
    assert name in refused.get_json()["error"].replace("\u3000", " ") or names.tidy(name) in refused.get_json()["error"]
    listed = client.post(
        "/api/admin/users/import", data=f"name\n{name}\n", content_type="text/csv", headers=organiser.headers
    )
    assert (listed.status_code, "Line 2" in listed.text) == (400, True)


@pytest.mark.parametrize(("taken", "name"), DIFFERENT)
def test_a_name_that_looks_different_is_accepted(client: FlaskClient, taken: str, name: str) -> None:
    assert [register(client, it).status_code for it in (taken, name)] == [201, 201]


def test_one_list_has_no_names_that_look_alike(organiser: LoggedIn, client: FlaskClient) -> None:
    listed = client.post(
        "/api/admin/users/import", data="name\nNeo\nNео\n", content_type="text/csv", headers=organiser.headers
    )
    assert (listed.status_code, "Line 3" in listed.text) == (400, True)


def test_a_new_faction_does_not_look_like_another_one(organiser: LoggedIn) -> None:
    for name in ("Runnеrs", "Nоne", "C0rpSec"):
        assert organiser.administer("POST", "/factions/create", name=name).status_code == 400, ascii(name)
    assert organiser.administer("POST", "/factions/create", name="Бегуны").status_code == 201


def test_names_from_before_stay_usable_and_their_look_alikes_are_refused(
    client: FlaskClient, player: Join, owner: Engine, upgraded: UpgradeSettings
) -> None:
    """As if an older version had registered two accounts that look alike, and one with an invisible character."""
    before = ["Nео", "Trinity\u3164", "Adm\u034fin"]
    players = [player(name) for name in ("Neo", "Smith", "Tank", "Mouse")]
    with owner.begin() as connection:
        for old, name in zip(("Smith", "Tank", "Mouse"), before, strict=True):
            connection.execute(
                text("UPDATE accounts SET name = :name, name_key = :key, skeleton = NULL WHERE name = :old"),
                {"name": name, "key": names.key(name), "old": old},
            )
    for name, old in zip(before, ("Smith", "Tank", "Mouse"), strict=True):
        session = log_in(client, name, "password of " + old)
        assert session.pay(players[0].number, 1).status_code == 201
        assert players[0].send("GET", "/players/lookup", name=name).status_code == 200
    migrations.upgrade(replace(upgraded, administrator=Administrator(before[2], "cookies, hot")))
    assert log_in(client, before[2], "cookies, hot").account()["is_admin"] is True
