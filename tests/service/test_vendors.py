"""API keys of terminals: what each scope permits, and payments that move money once."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from flask import Flask
from flask.testing import FlaskClient
from sqlalchemy import Engine, text

from neobank.application import create_app
from neobank.vendors import keys
from tests.service.statements import recorded
from tests.service.support import Join, LoggedIn, NewTerminal, Terminal, bank_of

pytestmark = pytest.mark.usefixtures("books")

AUDITED_KEYS = text("""
    SELECT count(*) FILTER (WHERE action LIKE '%_api_key')
        + coalesce(sum((details::jsonb ->> 'revoked_keys')::integer), 0)
    FROM audit_logs
""")


def test_a_key_has_the_charge_scope_and_the_organiser_s_account_by_default(
    client: FlaskClient, organiser: LoggedIn
) -> None:
    made = client.post("/api/admin/api-keys", json={"description": "bar"}, headers=organiser.headers).get_json()
    assert made["key"].startswith(made["api_key"]["prefix"])
    assert made["api_key"]["scope"] == "charge"
    assert made["api_key"]["account_number"] == organiser.number
    listed = client.get("/api/admin/api-keys", headers=organiser.headers)
    assert [key["id"] for key in listed.get_json()["api_keys"]] == [made["api_key"]["id"]]
    assert made["key"] not in listed.text


def test_a_key_is_stored_as_a_hash_that_does_not_depend_on_the_secret_key(
    app: Flask, terminal: NewTerminal, engine: Engine, bar: LoggedIn
) -> None:
    made = terminal(account=bar.number)
    with engine.connect() as connection:
        rows = connection.execute(text("SELECT api_keys::text FROM api_keys")).scalars().all()
    assert all(made.key not in row for row in rows)
    other = create_app(replace(bank_of(app).settings, secret_key=b"x" * 32))
    answer = replace(made, client=other.test_client()).send("GET", f"/account/{bar.number}/balance")
    assert answer.status_code == 200


@pytest.mark.parametrize("key", ["", "nbk_", "nbk_" + "A" * 43, "Bearer x", "é", "x" * 5000])
def test_an_invalid_key_is_rejected(client: FlaskClient, key: str) -> None:
    for method, path in [("GET", "/charges/1"), ("POST", "/charges"), ("POST", "/transactions")]:
        answer = Terminal(client, key, 0).send(method, path)
        assert answer.status_code == 401
        assert answer.content_type == "application/problem+json"
        assert "X-API-Key" in answer.get_json()["error"]


def test_a_player_s_token_does_not_work_as_a_key_nor_a_key_as_a_token(terminal: NewTerminal, bar: LoggedIn) -> None:
    made = terminal(account=bar.number)
    token = bar.headers["Authorization"].removeprefix("Bearer ")
    assert replace(made, key=token).send("GET", "/charges/1").status_code == 401
    assert replace(bar, headers={"Authorization": f"Bearer {made.key}"}).send("GET", "/account").status_code == 401


def test_a_revoked_key_is_invalid_at_once_on_every_worker(
    app: Flask, terminal: NewTerminal, organiser: LoggedIn, bar: LoggedIn
) -> None:
    made = terminal(account=bar.number)
    second = replace(made, client=create_app(bank_of(app).settings).test_client())
    assert second.send("GET", f"/account/{bar.number}/balance").status_code == 200
    revoked = organiser.administer("DELETE", f"/api-keys/{made.id}")
    assert (revoked.status_code, keys.PREFIX in revoked.get_json()["message"]) == (200, True)
    assert second.send("GET", f"/account/{bar.number}/balance").status_code == 401
    assert organiser.administer("DELETE", f"/api-keys/{made.id}").status_code == 404


def test_a_key_is_invalid_after_its_expiry(terminal: NewTerminal, owner: Engine, bar: LoggedIn) -> None:
    soon = (datetime.now(UTC) + timedelta(hours=1)).isoformat()
    made = terminal(account=bar.number, expires_at=soon)
    assert made.send("GET", f"/account/{bar.number}/balance").status_code == 200
    with owner.begin() as connection:
        connection.execute(text("UPDATE api_keys SET expires_at = now()"))
    assert made.send("GET", f"/account/{bar.number}/balance").status_code == 401


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"description": ""}, "description"),
        ({"description": None}, "description"),
        ({"description": "x" * 201}, "description"),
        ({"scope": "everything"}, "scope"),
        ({"account": "NC-NONE-0000"}, "NC-NONE-0000"),
        ({"account": "NC-SYST-EM00"}, "NC-SYST-EM00"),
        ({"account": "NC-CASA-0000"}, "NC-CASA-0000"),
        ({"expires_at": "2020-01-01T00:00:00Z"}, "future"),
        ({"expires_at": "2099-01-01T00:00:00"}, "expires_at"),
        ({"expires_at": 5}, "expires_at"),
        ({"expires_at": 4_000_000_000}, "expires_at"),
        ({"expires_at": "4000000000"}, "expires_at"),
        ({"expires_at": "9999-12-31T23:59:59-23:59"}, "expires_at"),
        ({"admin": True}, "admin"),
    ],
)
def test_an_invalid_request_creates_no_key(organiser: LoggedIn, change: dict[str, object], named: str) -> None:
    body = {"description": "bar"} | change
    refused = organiser.client.post("/api/admin/api-keys", json=body, headers=organiser.headers)
    assert refused.status_code == 400, refused.text
    assert named in refused.get_json()["error"]
    assert organiser.administer("GET", "/api-keys").get_json() == {"api_keys": []}


def test_only_organisers_manage_keys(player: Join) -> None:
    neo = player("Neo")
    for method, path in [("GET", ""), ("POST", ""), ("DELETE", "/1")]:
        answer = neo.client.open(f"/api/admin/api-keys{path}", method=method, json={}, headers=neo.headers)
        assert answer.status_code == 403


@pytest.mark.parametrize(
    ("scope", "payer", "status"),
    [
        ("charge", "own", 403),
        ("charge", "other", 403),
        ("pay", "own", 201),
        ("pay", "other", 403),
        ("debit", "own", 201),
        ("debit", "other", 201),
        ("debit", "NC-SYST-EM00", 400),
        ("debit", "NC-CASA-0000", 400),
        ("debit", "NC-NONE-0000", 400),
        ("pay", "NC-NONE-0000", 403),
    ],
)
def test_the_scope_determines_whose_money_a_key_may_move(
    player: Join, terminal: NewTerminal, bar: LoggedIn, scope: str, payer: str, status: int
) -> None:
    neo, trinity = player("Neo"), player("Trinity")
    made = terminal(scope=scope, account=bar.number)
    number = {"own": bar.number, "other": neo.number}.get(payer, payer)
    answer = made.pay(number, trinity.number, 12.5)
    assert answer.status_code == status, answer.text
    moved = 12.5 if status == 201 else 0
    assert trinity.balance() == 1000 + moved
    assert bar.balance() + neo.balance() == 2000 - moved
    if status == 201:
        assert answer.get_json()["transaction"]["from_account"] == number
        assert answer.get_json()["transaction"]["to_name"] == "Trinity"


@pytest.mark.parametrize(
    ("scope", "of", "status"),
    [
        ("charge", "own", 200),
        ("charge", "other", 403),
        ("pay", "other", 403),
        ("pay", "NC-NONE-0000", 403),
        ("debit", "other", 200),
        ("debit", "NC-NONE-0000", 404),
        ("debit", "NC-SYST-EM00", 404),
    ],
)
def test_the_scope_determines_whose_balance_a_key_may_read(
    player: Join, terminal: NewTerminal, bar: LoggedIn, scope: str, of: str, status: int
) -> None:
    neo = player("Neo")
    number = {"own": bar.number, "other": neo.number}.get(of, of)
    answer = terminal(scope=scope, account=bar.number).send("GET", f"/account/{number}/balance")
    assert answer.status_code == status
    if status == 200:
        assert answer.get_json() == {"account_number": number, "balance": 1000}


@pytest.mark.parametrize("amount", [0, -1, 0.001, "5", True, None, 1000.01, 1e400, [], {}])
def test_an_invalid_external_payment_moves_nothing(
    player: Join, terminal: NewTerminal, bar: LoggedIn, amount: object
) -> None:
    neo = player("Neo")
    assert terminal(scope="pay", account=bar.number).pay(bar.number, neo.number, amount).status_code == 400
    assert (bar.balance(), neo.balance()) == (1000, 1000)


def test_a_repeated_external_payment_moves_money_once(player: Join, terminal: NewTerminal, bar: LoggedIn) -> None:
    neo, made = player("Neo"), terminal(scope="pay", account=bar.number)
    first, second = (made.pay(bar.number, neo.number, 5, once="k") for _ in range(2))
    assert first.get_json() == second.get_json()
    assert terminal(scope="pay", account=bar.number).pay(bar.number, neo.number, 5, once="k").status_code == 201
    assert neo.balance() == 1010  # idempotency keys are separate for each API key


def test_an_external_payment_sends_at_most_three_statements(
    app: Flask, player: Join, terminal: NewTerminal, bar: LoggedIn
) -> None:
    neo = player("Neo")
    for scope, payer, statements in [("pay", bar.number, 2), ("debit", neo.number, 3)]:
        made = terminal(scope=scope, account=bar.number)
        with recorded(bank_of(app).engine) as sent:
            assert made.pay(payer, bar.number if payer == neo.number else neo.number, 1).status_code == 201
        assert len(sent) == statements, sent


def test_the_key_of_a_frozen_account_is_rejected(owner: Engine, terminal: NewTerminal, bar: LoggedIn) -> None:
    made = terminal(scope="pay", account=bar.number)
    with owner.begin() as connection:
        connection.execute(
            text("SELECT set_frozen(id, true) FROM accounts WHERE number = :number"), {"number": bar.number}
        )
    refused = made.send("GET", f"/account/{bar.number}/balance")
    assert refused.status_code == 403
    assert "frozen" in refused.get_json()["error"]


def debit_key(client: FlaskClient, maker: LoggedIn, bar: LoggedIn, scope: str = "debit") -> Terminal:
    made = maker.administer("POST", "/api-keys", description="old till", scope=scope, account=bar.number).get_json()
    assert made["api_key"]["created_by"] == maker.number
    return Terminal(client, made["key"], made["api_key"]["id"])


@pytest.fixture
def smith(player: Join, organiser: LoggedIn) -> LoggedIn:
    """A second organiser."""
    made = player("Smith")
    organiser.administer("POST", f"/users/{made.number}/toggle-admin", is_admin=True)
    return made


@pytest.mark.parametrize(("off", "on"), [("toggle-admin", "toggle-admin"), ("freeze", "unfreeze")])
def test_a_debit_key_works_only_while_its_maker_is_an_organiser_who_may_act(
    client: FlaskClient, organiser: LoggedIn, smith: LoggedIn, bar: LoggedIn, off: str, on: str
) -> None:
    key = debit_key(client, smith, bar)
    others = [debit_key(client, smith, bar, scope) for scope in ("charge", "pay")]
    others.append(debit_key(client, organiser, bar))
    for path, status in ((None, 201), (off, 403), (on, 201)):
        if path:
            assert organiser.administer("POST", f"/users/{smith.number}/{path}").status_code == 200
        answer = key.pay(organiser.number, bar.number, 1)
        assert answer.status_code == status, answer.text
        assert status == 201 or "ask an organiser" in answer.get_json()["error"]
        assert all(other.send("POST", "/charges", amount=1).status_code == 201 for other in others)
        listed = {it["id"]: it for it in organiser.administer("GET", "/api-keys").get_json()["api_keys"]}
        assert listed[key.id]["created_by_name"] == "Smith"
        assert {it["id"] for it in listed.values() if it["suspended"]} == ({key.id} if status == 403 else set())
    assert bar.balance() == 1002


def test_a_reset_of_the_password_revokes_the_debit_keys_that_the_player_made(
    client: FlaskClient, organiser: LoggedIn, smith: LoggedIn, bar: LoggedIn
) -> None:
    revoked = debit_key(client, smith, bar)
    kept = [debit_key(client, smith, bar, scope) for scope in ("charge", "pay")]
    kept.append(debit_key(client, organiser, bar))
    organiser.administer("POST", f"/users/{smith.number}/reset-password", new_password="one time only")
    assert revoked.send("POST", "/charges", amount=1).status_code == 401
    assert all(key.send("POST", "/charges", amount=1).status_code == 201 for key in kept)


def test_a_key_must_match_completely(terminal: NewTerminal, bar: LoggedIn) -> None:
    made = terminal(account=bar.number)
    assert len(made.key) == len(keys.PREFIX) + 43
    assert replace(made, key=made.key[:-1]).send("GET", "/charges/1").status_code == 401
    assert replace(made, key=made.key.swapcase()).send("GET", "/charges/1").status_code == 401


@pytest.fixture(autouse=True)
def no_secret_in_the_audit(engine: Engine) -> Iterator[None]:
    yield
    with engine.connect() as connection:
        details = connection.execute(text("SELECT string_agg(details, ' ') FROM audit_logs")).scalar_one()
        known = connection.execute(AUDITED_KEYS).scalar_one()
        made = connection.execute(text("SELECT count(*) + count(revoked_at) FROM api_keys")).scalar_one()
    assert keys.PREFIX not in (details or "")
    assert known == made
