"""Sessions and passwords: an ended session is invalid everywhere, and players see and end only their own."""

import re
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise

import pytest
from flask import Flask
from flask.testing import FlaskClient
from sqlalchemy import Engine, text
from sqlalchemy.exc import OperationalError

from neobank.application import create_app
from neobank.errors import NotAuthenticated
from neobank.ledger.operations import AccountFrozen
from neobank.players import passwords
from neobank.players.operations import find_credentials, lock_credentials
from neobank.settings import ServingSettings
from neobank.web.authentication import MAX_DEVICE
from tests.service.statements import recorded
from tests.service.support import Books, Join, LoggedIn, bank_of, log_in

NEW = "a longer password"


def again(of: LoggedIn, name: str, device: str = "Phone") -> LoggedIn:
    return log_in(of.client, name, "password of " + name, device)


def alive(session: LoggedIn) -> bool:
    status = session.send("GET", "/account").status_code
    assert status in {200, 401}
    return status == 200


def listed(session: LoggedIn) -> list[dict[str, object]]:
    found: list[dict[str, object]] = session.send("GET", "/account/sessions").get_json()["sessions"]
    return found


def test_logout_ends_a_session_at_once_on_every_worker(
    settings: ServingSettings, player: Join, client: FlaskClient
) -> None:
    neo = player("Neo")
    phone = again(neo, "Neo")
    other_worker = LoggedIn(create_app(settings).test_client(), neo.number, neo.headers)
    assert alive(other_worker)
    answer = neo.send("POST", "/auth/logout")
    assert (answer.status_code, answer.data) == (204, b"")
    assert not alive(neo)
    assert not alive(other_worker)
    assert alive(phone)
    assert neo.send("POST", "/auth/logout").status_code == 401
    assert client.post("/api/v1/auth/logout").status_code == 401


def test_a_session_of_a_frozen_account_is_invalid_before_it_is_ended(owner: Engine, player: Join) -> None:
    neo = player("Neo")
    freeze = text("SELECT set_frozen(id, :frozen) FROM accounts WHERE number = :number")
    for frozen in (True, False):
        with owner.begin() as connection:
            connection.execute(freeze, {"frozen": frozen, "number": neo.number})
        assert alive(neo) is not frozen


def test_a_log_in_is_refused_if_the_password_changes_or_the_account_is_frozen_meanwhile(
    engine: Engine, owner: Engine, player: Join
) -> None:
    number = player("Neo").number
    with engine.begin() as connection:
        proven = find_credentials(connection, "Neo")
        assert proven
        lock_credentials(connection, proven)
    with owner.begin() as connection:
        connection.execute(text("SELECT set_frozen(id, true) FROM accounts WHERE number = :n"), {"n": number})
    with engine.begin() as connection, pytest.raises(AccountFrozen):
        lock_credentials(connection, proven)
    with owner.begin() as connection:
        connection.execute(text("SELECT set_frozen(id, false) FROM accounts WHERE number = :n"), {"n": number})
        connection.execute(text("UPDATE players SET password_hash = 'x'"))
    with engine.begin() as connection, pytest.raises(NotAuthenticated):
        lock_credentials(connection, proven)


def test_a_password_cannot_change_between_its_proof_and_the_new_session(
    engine: Engine, owner: Engine, player: Join
) -> None:
    player("Neo")
    change = text("SELECT FROM players JOIN accounts ON id = account_id WHERE name = 'Neo' FOR NO KEY UPDATE NOWAIT")
    with engine.begin() as connection:
        proven = find_credentials(connection, "Neo")
        assert proven
        lock_credentials(connection, proven)
        with owner.begin() as other, pytest.raises(OperationalError, match="could not obtain lock"):
            other.execute(change)
    with owner.begin() as other:
        other.execute(change)


def test_sessions_are_listed_newest_first_with_their_device(player: Join) -> None:
    neo = player("Neo")
    again(neo, "Neo", device="x" * (MAX_DEVICE + 50))
    last = again(neo, "Neo", device="Nokia\x019\u00e9")
    sessions = listed(last)
    assert [session["current"] for session in sessions] == [True, False, False]
    assert [session["device"] for session in sessions[:2]] == ["Nokia9\u00e9", "x" * MAX_DEVICE]
    assert set(sessions[0]) == {"id", "device", "started_at", "last_seen_at", "current"}
    assert all(str(session["started_at"]).endswith("Z") for session in sessions)
    assert all(int(str(newer["id"])) > int(str(older["id"])) for newer, older in pairwise(sessions))


def test_a_session_without_a_user_agent_has_no_device(player: Join) -> None:
    assert listed(again(player("Neo"), "Neo", device=""))[0]["device"] is None


def test_an_expired_session_is_invalid_and_not_listed(player: Join, owner: Engine) -> None:
    neo = player("Neo")
    with owner.begin() as connection:
        connection.execute(text("UPDATE sessions SET expires_at = now()"))
    assert not alive(neo)
    assert len(listed(again(neo, "Neo"))) == 1


def test_a_player_ends_one_session_or_all_others(player: Join) -> None:
    neo = player("Neo")
    phone, tablet, desk = (again(neo, "Neo") for _ in range(3))
    second = listed(neo)[2]["id"]
    assert neo.send("DELETE", f"/account/sessions/{second}").status_code == 204
    assert [alive(session) for session in (neo, phone, tablet, desk)] == [True, False, True, True]
    assert neo.send("DELETE", f"/account/sessions/{second}").status_code == 404
    assert tablet.send("DELETE", "/account/sessions").status_code == 204
    assert [alive(session) for session in (neo, tablet, desk)] == [False, True, False]
    assert tablet.send("DELETE", f"/account/sessions/{listed(tablet)[0]['id']}").status_code == 204
    assert not alive(tablet)


def test_a_player_cannot_see_or_end_another_player_s_session(player: Join) -> None:
    neo, smith = player("Neo"), player("Smith")
    theirs, none = listed(neo)[0]["id"], 10**15
    assert theirs not in [session["id"] for session in listed(smith)]
    refusals = [smith.send("DELETE", f"/account/sessions/{number}") for number in (theirs, none)]
    assert [refusal.status_code for refusal in refusals] == [404, 404]
    assert refusals[0].get_json() == refusals[1].get_json()
    smith.send("DELETE", "/account/sessions")
    assert alive(neo)


@pytest.mark.parametrize("number", ["0", "-1", "x", "1e3", "9" * 18, "9" * 19, "9" * 5000, "\u0661", "1.0"])
def test_an_invalid_session_id_is_not_found(player: Join, number: str) -> None:
    neo = player("Neo")
    assert neo.send("DELETE", f"/account/sessions/{number}").status_code == 404
    assert alive(neo)


def test_last_seen_is_updated_once_a_minute_without_an_extra_statement(app: Flask, player: Join, owner: Engine) -> None:
    neo = player("Neo")
    before = listed(neo)[0]["last_seen_at"]
    assert listed(neo)[0]["last_seen_at"] == before
    with owner.begin() as connection:
        connection.execute(text("UPDATE sessions SET last_seen_at = now() - interval '61 seconds'"))
    with recorded(bank_of(app).engine) as sent:
        assert str(listed(neo)[0]["last_seen_at"]) >= str(before)
    assert len(sent) == 2
    with owner.begin() as connection:
        connection.execute(text("UPDATE sessions SET last_seen_at = now() - interval '59 seconds'"))
    assert str(listed(neo)[0]["last_seen_at"]) < str(before)


def test_a_payment_sends_two_statements(app: Flask, player: Join, books: Books) -> None:
    """Authentication and the whole payment, without BEGIN, COMMIT or a check of the read-only switch."""
    neo, trinity = player("Neo"), player("Trinity")
    with recorded(bank_of(app).engine) as sent:
        assert neo.pay(trinity.number, 1).status_code == 201
    assert len(sent) == 2, sent
    assert "post_payment" in sent[1].text
    books()


def test_a_changed_password_ends_every_other_session(player: Join) -> None:
    neo, smith = player("Neo"), player("Smith")
    phone = again(neo, "Neo")
    answer = neo.send("PUT", "/account/password", current_password="password of Neo", new_password=NEW)
    assert (answer.status_code, set(answer.get_json())) == (200, {"message"})
    assert [alive(session) for session in (neo, phone, smith)] == [True, False, True]
    old = {"character_name": "Neo", "password": "password of Neo"}
    assert neo.client.post("/api/v1/auth/login", json=old).status_code == 401
    log_in(neo.client, "Neo", NEW)


@pytest.mark.parametrize(
    ("change", "status", "named"),
    [
        ({"current_password": "not this one"}, 401, "current"),
        ({"current_password": ""}, 401, "current"),
        ({"current_password": None}, 400, "current_password"),
        ({"new_password": None}, 400, "new_password"),
        ({"new_password": ""}, 400, "new_password"),
        ({"new_password": "x" * (passwords.MIN_LENGTH - 1)}, 400, "new_password"),
        ({"new_password": "x" * (passwords.MAX_LENGTH + 1)}, 400, "new_password"),
        ({"new_password": "PassWord1"}, 400, "new_password"),
        ({"new_password": "password of Neo"}, 400, "current"),
        ({"new_password": ["a longer password"]}, 400, "new_password"),
        ({"is_admin": True}, 400, "is_admin"),
    ],
)
def test_a_rejected_password_change_changes_nothing(
    player: Join, change: dict[str, object], status: int, named: str
) -> None:
    neo = player("Neo")
    phone = again(neo, "Neo")
    body = {"current_password": "password of Neo", "new_password": NEW} | change
    answer = neo.send("PUT", "/account/password", **body)
    assert (answer.status_code, answer.content_type) == (status, "application/problem+json")
    assert named in answer.get_json()["detail"]
    assert alive(neo)
    assert alive(phone)
    again(neo, "Neo")


def change_meanwhile(monkeypatch: pytest.MonkeyPatch, owner: Engine) -> None:
    """Change the password hash while a request verifies its password."""
    prove = passwords.matches

    def slow(password: str, kept: str) -> bool:
        with owner.begin() as connection:
            connection.execute(text("UPDATE players SET password_hash = 'changed'"))
        return prove(password, kept)

    monkeypatch.setattr(passwords, "matches", slow)


def test_a_login_is_rejected_if_the_password_changes_meanwhile(
    player: Join, owner: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    neo = player("Neo")
    change_meanwhile(monkeypatch, owner)
    answer = neo.client.post("/api/v1/auth/login", json={"character_name": "Neo", "password": "password of Neo"})
    assert answer.status_code == 401
    assert len(listed(neo)) == 1


def test_one_of_two_concurrent_password_changes_is_rejected(
    player: Join, owner: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    neo = player("Neo")
    phone = again(neo, "Neo")
    change_meanwhile(monkeypatch, owner)
    body = {"current_password": "password of Neo", "new_password": NEW}
    assert neo.send("PUT", "/account/password", **body).status_code == 401
    assert alive(phone)


def test_a_one_time_password_only_permits_changing_it(player: Join, client: FlaskClient, owner: Engine) -> None:
    neo = player("Neo")
    with owner.begin() as connection:
        connection.execute(text("UPDATE players SET must_change_password = true"))
    paths = client.get("/openapi.json").get_json()["paths"]
    guarded = [
        (method, re.sub(r"{\w+}", "1", path.replace("{number}", "NC-0000-0000")))
        for path, operations in paths.items()
        for method, operation in operations.items()
        if any("BearerAuth" in scheme for scheme in operation.get("security", []))
    ]
    assert len(guarded) > 5
    for method, path in guarded:
        answer = client.open(path, method=method.upper(), json={}, headers=neo.headers)
        assert answer.status_code == (400 if path.endswith("/password") else 403), (method, path)
    who = {"character_name": "Neo", "password": "password of Neo"}
    assert client.post("/api/v1/auth/login", json=who).get_json()["must_change_password"] is True
    body = {"current_password": "password of Neo", "new_password": NEW}
    assert neo.send("PUT", "/account/password", **body).status_code == 200
    assert alive(neo)
    changed = client.post("/api/v1/auth/login", json=who | {"password": NEW})
    assert changed.get_json()["must_change_password"] is False


def test_a_one_time_password_works_once_also_for_concurrent_log_ins(
    player: Join, client: FlaskClient, organiser: LoggedIn
) -> None:
    neo = player("Neo")
    who = {"character_name": "Neo", "password": "one time only"}
    wrong = client.post("/api/v1/auth/login", json=who | {"password": "wrong"}).get_json()
    token = ""
    for _ in range(2):  # a reset makes even the same password work again
        organiser.administer("POST", f"/users/{neo.number}/reset-password", new_password="one time only")
        with ThreadPoolExecutor(4) as pool:
            answers = list(pool.map(lambda _: client.post("/api/v1/auth/login", json=who), range(4)))
        assert {answer.status_code for answer in answers} <= {200, 401, 503}
        [token] = [answer.get_json()["access_token"] for answer in answers if answer.status_code == 200]
        again = client.post("/api/v1/auth/login", json=who)
        assert (again.status_code, again.get_json()) == (401, wrong)
    session = LoggedIn(client, neo.number, {"Authorization": f"Bearer {token}"})
    body = {"current_password": "one time only", "new_password": NEW}
    assert session.send("PUT", "/account/password", **body).status_code == 200
    for _ in range(2):
        assert alive(log_in(client, "Neo", NEW))


def test_a_refused_log_in_does_not_use_a_one_time_password(
    player: Join, client: FlaskClient, organiser: LoggedIn
) -> None:
    neo = player("Neo")
    organiser.administer("POST", f"/users/{neo.number}/reset-password", new_password="one time only")
    who = {"character_name": "Neo", "password": "one time only"}
    organiser.administer("POST", f"/users/{neo.number}/freeze")
    assert client.post("/api/v1/auth/login", json=who).status_code == 403
    organiser.administer("POST", f"/users/{neo.number}/unfreeze")
    assert client.post("/api/v1/auth/login", json=who).status_code == 200


@pytest.mark.parametrize("password", ["password", "Password", "12345678", "QWERTYUIOP", "iloveyou"])
def test_a_common_password_is_rejected_at_registration(client: FlaskClient, password: str) -> None:
    answer = client.post("/api/v1/auth/register", json={"character_name": "Neo", "password": password})
    assert answer.status_code == 400
    assert "password" in answer.get_json()["detail"]


def test_the_list_of_common_passwords_is_folded_and_long_enough() -> None:
    listed_ones = passwords._COMMON
    assert len(listed_ones) > 100
    assert all(password == password.casefold() and len(password) >= passwords.MIN_LENGTH for password in listed_ones)
