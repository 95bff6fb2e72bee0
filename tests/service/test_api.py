"""The HTTP interface: fields, status codes, and rejected requests that change nothing."""

import re

import pytest
from flask import Flask
from flask.testing import FlaskClient

from neobank.players.passwords import MIN_LENGTH
from tests.service.support import Join, LoggedIn

pytestmark = pytest.mark.usefixtures("books")


def test_registration_returns_every_field_and_the_opening_balance(client: FlaskClient) -> None:
    answer = client.post("/api/v1/auth/register", json={"character_name": " Neo  One ", "password": "white rabbit"})
    assert answer.status_code == 201
    user = answer.get_json()["user"]
    assert user.pop("account_number").startswith("NC-")
    assert user.pop("created_at").endswith("Z")
    assert user == {
        "character_name": "Neo One",
        "faction": None,
        "balance": 1000,
        "is_admin": False,
        "profile_picture": None,
        "free_spins": 0,
    }


@pytest.mark.parametrize("again", ["Neo", "NEO", " neo ", "\uff4e\uff45\uff4f"])
def test_a_name_is_taken_in_every_spelling_that_folds_to_it(client: FlaskClient, player: Join, again: str) -> None:
    player("Neo")
    answer = client.post("/api/v1/auth/register", json={"character_name": again, "password": "white rabbit"})
    assert answer.status_code == 400
    assert "taken" in answer.get_json()["error"]


@pytest.mark.parametrize("name", ["system", "Casino House"])
def test_the_names_of_system_accounts_cannot_register_or_log_in(client: FlaskClient, name: str) -> None:
    who = {"character_name": name, "password": "white rabbit"}
    assert client.post("/api/v1/auth/register", json=who).status_code == 400
    assert client.post("/api/v1/auth/login", json=who).status_code == 401


def test_an_unknown_name_and_a_wrong_password_get_the_same_response(client: FlaskClient, player: Join) -> None:
    player("Neo")
    answers = [
        client.post("/api/v1/auth/login", json={"character_name": name, "password": "not this one"})
        for name in ("Neo", "Nobody")
    ]
    assert [answer.status_code for answer in answers] == [401, 401]
    assert answers[0].get_json() == answers[1].get_json()


@pytest.mark.parametrize(
    "token", ["", "Bearer", "Bearer ", "Bearer x", "Basic x", "Bearer \u00e9", "Bearer " + "x" * 9000]
)
def test_an_invalid_token_is_rejected(client: FlaskClient, token: str) -> None:
    answer = client.get("/api/v1/account", headers={"Authorization": token})
    assert answer.status_code == 401
    assert answer.content_type == "application/problem+json"


def test_a_payment_changes_both_balances_and_both_histories(player: Join) -> None:
    neo, trinity = player("Neo"), player("Trinity")
    paid = neo.pay(trinity.number.lower(), 10.25, memo="for the call")
    body = paid.get_json()
    assert (paid.status_code, body["new_balance"]) == (201, 989.75)
    assert (neo.balance(), trinity.balance()) == (989.75, 1010.25)
    seen = [side.send("GET", "/account/transactions").get_json()["transactions"] for side in (neo, trinity)]
    assert seen[0][0] == seen[1][0] == body["transaction"]
    assert body["transaction"] == seen[0][0] | {
        "from_account": neo.number,
        "from_name": "Neo",
        "to_account": trinity.number,
        "to_name": "Trinity",
        "amount": 10.25,
        "memo": "for the call",
        "type": "transfer",
    }
    assert [transaction["type"] for transaction in seen[0]] == ["transfer", "opening_balance"]


@pytest.mark.parametrize("number", ["1e99999999999999999999", "-1e99999999999999999999", "9e999999", "1e-999999"])
def test_a_number_of_any_size_in_a_body_is_answered_with_400(organiser: LoggedIn, number: str) -> None:
    for method, path, body in [
        ("POST", "/api/v1/auth/login", f'{{"a": {number}}}'),
        ("POST", "/api/v1/transactions", f'{{"to_account": "NC-CASA-0000", "amount": {number}}}'),
        ("PUT", "/api/admin/casino/config/glitch_grid", f'{{"payout_percentage": {number}}}'),
        ("PUT", "/api/v1/account/limits", f'{{"daily_loss_limit": [[{number}]]}}'),
    ]:
        answer = organiser.client.open(
            path, method=method, data=body, headers=organiser.headers, content_type="application/json"
        )
        assert (answer.status_code, answer.content_type) == (400, "application/problem+json"), path


@pytest.mark.parametrize(
    "path", ["//", "//api/v1/account", "/api//v1/account", "/api/v1/account//", "///evil.example/"]
)
def test_a_path_with_two_slashes_does_not_exist(client: FlaskClient, path: str) -> None:
    answer = client.get("/", environ_overrides={"PATH_INFO": path}, headers={"Host": "evil.example"})
    assert (answer.status_code, answer.content_type) == (404, "application/problem+json")
    assert "Location" not in answer.headers


BAD_AMOUNTS = ["0", "-1", "0.001", "1e400", "1e-3", "1000000000.01", "NaN", "Infinity", "-Infinity", "true"]
BAD_AMOUNTS += ["null", '"5"', "[]", "{}", '"five"', "1" * 5000, "0x10", "", "1.0000000000000000000000000000000001"]


@pytest.mark.parametrize("amount", BAD_AMOUNTS)
def test_an_invalid_amount_moves_nothing(player: Join, amount: str) -> None:
    neo, trinity = player("Neo"), player("Trinity")
    answer = neo.client.post(
        "/api/v1/transactions",
        data=f'{{"to_account": "{trinity.number}", "amount": {amount}}}',
        headers=neo.headers,
        content_type="application/json",
    )
    assert answer.status_code == 400
    assert (neo.balance(), trinity.balance()) == (1000, 1000)


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"amount": 1000.01}, "¤1000.01"),
        ({"to_account": "NC-NONE-0000"}, "NC-NONE-0000"),
        ({"to_account": ""}, "account"),
        ({"to_account": 5}, "to_account"),
        ({"to_account": None}, "to_account"),
        ({"memo": "x" * 141}, "memo: must have at most 140"),
        ({"memo": 5}, "memo"),
        ({"memo": "\x00"}, "memo"),
        ({"surprise": 1}, "surprise"),
    ],
)
def test_a_rejected_payment_names_the_cause_and_moves_nothing(
    player: Join, change: dict[str, object], named: str
) -> None:
    neo, trinity = player("Neo"), player("Trinity")
    answer = neo.client.post(
        "/api/v1/transactions", json={"to_account": trinity.number, "amount": 1} | change, headers=neo.headers
    )
    problem = answer.get_json()
    assert (answer.status_code, problem["status"]) == (400, 400)
    assert problem["detail"] == problem["error"]
    assert named in problem["detail"]
    assert (neo.balance(), trinity.balance()) == (1000, 1000)


def test_a_player_cannot_pay_themselves(player: Join) -> None:
    neo = player("Neo")
    assert neo.pay(neo.number, 1).status_code == 400


@pytest.mark.parametrize("empty", [None, ""])
def test_an_optional_field_may_be_null_or_empty(player: Join, empty: str | None) -> None:
    neo, trinity = player("Neo"), player("Trinity")
    paid = neo.pay(trinity.number, 1, memo=empty)
    assert paid.status_code == 201, paid.text


@pytest.mark.parametrize(
    ("body", "content_type"),
    [
        ("{", "application/json"),
        ("[]", "application/json"),
        ("5", "application/json"),
        ("null", "application/json"),
        ("[" * 60_000, "application/json"),
        ('{"character_name": "Neo", "password": "white rabbit", "password": "black rabbit"}', "application/json"),
        (b"\xff", "application/json"),
        ("", "application/json"),
        ('{"character_name": "\\ud800", "password": "white rabbit"}', "application/json"),
        ('{"character_name": "\\u0000", "password": "white rabbit"}', "application/json"),
        ('{"character_name": "a\\u200bb", "password": "white rabbit"}', "application/json"),
        ('{"character_name": "  ", "password": "white rabbit"}', "application/json"),
        ('{"character_name": "' + "x" * 101 + '", "password": "white rabbit"}', "application/json"),
        ('{"character_name": "Neo", "password": "' + "x" * (MIN_LENGTH - 1) + '"}', "application/json"),
        ('{"character_name": "Neo"}', "application/json"),
        ('{"character_name": "Neo", "password": "white rabbit", "is_admin": true}', "application/json"),
        ('{"character_name": "Neo", "password": "white rabbit", "faction": "' + "x" * 51 + '"}', "application/json"),
    ],
)
def test_an_invalid_body_gets_a_400_with_an_error_message(
    client: FlaskClient, body: str | bytes, content_type: str
) -> None:
    answer = client.post("/api/v1/auth/register", data=body, content_type=content_type)
    assert answer.status_code == 400
    assert answer.content_type == "application/problem+json"
    assert answer.get_json()["detail"].endswith(".")


@pytest.mark.parametrize(
    ("body", "content_type"),
    [("{}", "text/plain"), ("{}", ""), ("", "text/plain"), ("a=b", "application/x-www-form-urlencoded")],
)
def test_a_body_that_is_not_json_gets_a_415(client: FlaskClient, body: str, content_type: str) -> None:
    answer = client.post("/api/v1/auth/register", data=body, content_type=content_type)
    assert (answer.status_code, answer.content_type) == (415, "application/problem+json")


@pytest.mark.parametrize(
    "query",
    [
        "limit=0",
        "limit=101",
        "limit=x",
        "before=0",
        "before=x",
        f"before={2**63}",
        "page=2",
        "limit=1&limit=2",
        "limit=5&limit=5",
    ],
)
def test_invalid_pagination_is_rejected(player: Join, query: str) -> None:
    neo = player("Neo")
    assert neo.client.get(f"/api/v1/account/transactions?{query}", headers=neo.headers).status_code == 400


def test_the_history_is_paginated(player: Join) -> None:
    neo, trinity = player("Neo"), player("Trinity")
    for amount in (1, 2, 3, 4):
        neo.pay(trinity.number, amount)
    seen, following = [], ""
    while True:
        page = neo.client.get(f"/api/v1/account/transactions?limit=2{following}", headers=neo.headers).get_json()
        seen += [transaction["amount"] for transaction in page["transactions"]]
        if page["next"] is None:
            break
        following = f"&before={page['next']}"
    assert seen == [4, 3, 2, 1, 1000]


@pytest.mark.parametrize(
    ("path", "status"), [("/nowhere", 404), ("/api/v1/transactions", 405), ("/api/v1/auth/login", 405)]
)
def test_an_unknown_path_or_method_gets_a_problem_response(client: FlaskClient, path: str, status: int) -> None:
    answer = client.get(path)
    assert (answer.status_code, answer.content_type) == (status, "application/problem+json")


def test_a_too_large_body_is_rejected(client: FlaskClient) -> None:
    answer = client.post("/api/v1/auth/login", data=b" " * 70_000, content_type="application/json")
    assert answer.status_code == 413


def test_the_openapi_document_contains_every_route(app: Flask, client: FlaskClient) -> None:
    document = client.get("/openapi.json").get_json()
    routes = {re.sub(r"<(?:\w+:)?(\w+)>", r"{\1}", rule.rule) for rule in app.url_map.iter_rules()}
    assert set(document["paths"]) == {route for route in routes if not route.startswith(("/docs", "/openapi.json"))}
