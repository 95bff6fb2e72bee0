"""Actions of organisers: each runs in one transaction with its audit row, and only for organisers."""

import csv
import io
import re
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import pytest
from flask import Flask
from flask.testing import FlaskClient
from sqlalchemy import Engine, text
from werkzeug.test import TestResponse

from neobank.application import create_app
from tests.service.locks import await_waiting, locked_balance
from tests.service.support import Join, LoggedIn, bank_of

pytestmark = pytest.mark.usefixtures("books")

AUDITED = text("SELECT count(*) FROM audit_logs")
TOMORROW = (datetime.now(UTC) + timedelta(days=1)).isoformat()
NOW_IN_SECONDS = int(datetime.now(UTC).timestamp())


def amounts_in(problem: TestResponse) -> set[str]:
    """Return the amounts that an error message contains."""
    return set(re.findall(r"¤\d+\.\d\d", problem.get_json()["error"]))


def audited(engine: Engine) -> int:
    with engine.connect() as connection:
        found: int = connection.execute(AUDITED).scalar_one()
    return found


ACTIONS: list[tuple[str, str, dict[str, object]]] = [
    ("POST", "/users/{neo}/reset-password", {"new_password": "a new password"}),
    ("POST", "/users/{neo}/toggle-admin", {}),
    ("POST", "/users/{neo}/adjust-balance", {"amount": 5, "reason": "Found it"}),
    ("POST", "/users/{neo}/freeze", {}),
    ("POST", "/users/{neo}/unfreeze", {}),
    ("DELETE", "/users/{neo}/sessions", {}),
    ("POST", "/transactions/{paid}/reverse", {"reason": "A mistake"}),
    ("POST", "/api-keys", {"description": "bar"}),
    ("POST", "/factions/create", {"name": "Zion"}),
    ("POST", "/factions/None/add-credits", {"amount": 5, "reason": "Supper"}),
    ("PUT", "/switches", {"read_only": True}),
    ("PUT", "/casino/config/glitch_grid", {"is_enabled": False}),
    ("PUT", "/users/{neo}/exclusion", {"until": TOMORROW, "reason": "On request"}),
    ("GET", "/users/export", {}),
]
# Tested in test_vendors.py and test_import.py: one needs an existing key, the other takes no JSON.
ELSEWHERE = {"api_keys.delete_key", "admin_lists.post_import"}


@pytest.mark.parametrize(("method", "path", "body"), ACTIONS)
def test_an_action_adds_one_audit_row_and_a_rejected_one_adds_none(
    organiser: LoggedIn, neo: LoggedIn, engine: Engine, method: str, path: str, body: dict[str, object]
) -> None:
    paid = organiser.pay(neo.number, 1).get_json()["transaction"]["id"]
    path = path.format(neo=neo.number, paid=paid)
    assert neo.administer(method, path, **body).status_code == 403
    assert LoggedIn(neo.client, "", {}).administer(method, path, **body).status_code == 401
    if body:
        assert organiser.administer(method, path, **body, surprise=1).status_code == 400
    assert audited(engine) == 0
    done = organiser.administer(method, path, **body)
    assert done.status_code in {200, 201}, done.text
    assert audited(engine) == 1


def test_the_table_of_actions_is_complete(app: Flask) -> None:
    adapter = app.url_map.bind("bank")
    listed = {
        adapter.match(f"/api/admin{path.format(neo='NC', paid=1)}", method=method)[0] for method, path, _ in ACTIONS
    }
    rules = [rule for rule in app.url_map.iter_rules() if rule.rule.startswith("/api/admin")]
    actions = {rule.endpoint for rule in rules if rule.methods and rule.methods & {"POST", "PUT", "DELETE", "PATCH"}}
    assert actions <= listed | ELSEWHERE
    assert len(actions) > 10


def test_the_search_finds_a_player_by_number_name_or_a_word_of_the_name(organiser: LoggedIn, player: Join) -> None:
    smith = player("Agent \uff33\uff2d\uff29\uff34\uff28 of the Matrix")
    player("Percent%Sign_")
    for wanted in (
        smith.number,
        smith.number[:6].lower(),
        "agent",
        "smi",
        "\uff2d\uff21\uff34",
        "Agent Smith",
        "matrix agent",
        "smith & !agent",
    ):
        found = organiser.administer("GET", "/users/search", q=wanted).get_json()["users"]
        assert [user["account_number"] for user in found] == [smith.number], wanted
    for wanted in ("%", "_", "gent", "' | x:*", "\\", "NC-SYST"):
        assert organiser.administer("GET", "/users/search", q=wanted).get_json()["users"] == [], wanted
    assert [
        user["character_name"]
        for user in organiser.administer("GET", "/users/search", q="percent%").get_json()["users"]
    ]
    for wanted in ("", " ", "x" * 101):
        assert organiser.administer("GET", "/users/search", q=wanted).status_code == 400


def test_a_player_s_page_shows_the_amounts_sent_and_received(organiser: LoggedIn, neo: LoggedIn) -> None:
    neo.pay(organiser.number, 2.5)
    shown = organiser.administer("GET", f"/users/{neo.number.lower()}").get_json()
    assert (shown["total_sent"], shown["total_received"], shown["frozen"]) == (2.5, 1000, False)
    assert shown["user"]["balance"] == 997.5
    for number in ("NC-NONE-0000", "NC-SYST-EM00", "NC-CASA-0000"):
        assert organiser.administer("GET", f"/users/{number}").status_code == 404


def test_a_reset_password_must_be_changed_after_login(organiser: LoggedIn, neo: LoggedIn) -> None:
    organiser.administer("POST", f"/users/{neo.number}/reset-password", new_password="one time only")
    assert neo.send("GET", "/account").status_code == 401
    who = {"character_name": "Neo", "password": "one time only"}
    answer = neo.client.post("/api/v1/auth/login", json=who).get_json()
    assert answer["must_change_password"] is True
    again = LoggedIn(neo.client, neo.number, {"Authorization": f"Bearer {answer['access_token']}"})
    assert again.send("GET", "/account").status_code == 403


def test_organisers_appoint_and_remove_each_other_but_not_themselves(organiser: LoggedIn, neo: LoggedIn) -> None:
    made = organiser.administer("POST", f"/users/{neo.number}/toggle-admin").get_json()
    assert made["user"]["is_admin"] is True
    assert neo.administer("GET", "/stats").status_code == 200
    assert neo.administer("POST", f"/users/{neo.number}/toggle-admin").status_code == 403
    assert neo.administer("POST", f"/users/{neo.number}/freeze").status_code == 403
    neo.administer("POST", f"/users/{organiser.number}/toggle-admin")
    assert organiser.administer("GET", "/stats").status_code == 403


@pytest.mark.parametrize("amount", [0, 0.001, -0.001, "5", True, None, 1e400, 1_000_000_000.01, -1_000_000_000.01])
def test_an_invalid_adjustment_moves_nothing(organiser: LoggedIn, neo: LoggedIn, amount: object) -> None:
    path = f"/users/{neo.number}/adjust-balance"
    assert organiser.administer("POST", path, amount=amount, reason="x").status_code == 400
    assert neo.balance() == 1000


@pytest.mark.parametrize("reason", ["", " ", None, "x" * 141, 5])
def test_an_adjustment_needs_a_valid_reason(organiser: LoggedIn, neo: LoggedIn, reason: object) -> None:
    path = f"/users/{neo.number}/adjust-balance"
    assert organiser.administer("POST", path, amount=5, reason=reason).status_code == 400


def test_an_adjustment_adds_or_removes_money_and_reports_a_shortfall(organiser: LoggedIn, neo: LoggedIn) -> None:
    path = f"/users/{neo.number}/adjust-balance"
    first, second = (organiser.administer("POST", path, once="k", amount=5.25, reason="Found it") for _ in range(2))
    assert first.get_json() == second.get_json()
    assert first.get_json()["transaction"]["type"] == "admin_adjustment"
    assert organiser.administer("POST", path, amount=-1005.25, reason="A fine").status_code == 200
    assert neo.balance() == 0
    refused = organiser.administer("POST", path, amount=-2, reason="More")
    assert refused.status_code == 400
    assert {"¤0.00", "¤2.00"} <= amounts_in(refused)


def test_a_transaction_is_reversed_once(organiser: LoggedIn, neo: LoggedIn, player: Join) -> None:
    smith = player("Smith")
    paid = neo.pay(smith.number, 100).get_json()["transaction"]["id"]
    with ThreadPoolExecutor(8) as pool:
        answers = list(
            pool.map(lambda _: organiser.administer("POST", f"/transactions/{paid}/reverse", reason="Oops"), range(8))
        )
    assert sorted(answer.status_code for answer in answers) == [200] + [409] * 7
    [undone] = [it.get_json()["transaction"] for it in answers if it.status_code == 200]
    assert (undone["type"], undone["from_account"], undone["amount"]) == ("reversal", smith.number, 100)
    assert (neo.balance(), smith.balance()) == (1000, 1000)
    assert organiser.administer("POST", f"/transactions/{undone['id']}/reverse", reason="Back").status_code == 409
    assert organiser.administer("POST", "/transactions/999999/reverse", reason="?").status_code == 404


def test_a_reversal_cannot_overdraw_an_account_and_reports_the_shortfall(
    organiser: LoggedIn, neo: LoggedIn, player: Join
) -> None:
    smith = player("Smith")
    paid = neo.pay(smith.number, 100).get_json()["transaction"]["id"]
    smith.pay(neo.number, 1050)
    refused = organiser.administer("POST", f"/transactions/{paid}/reverse", reason="Oops")
    assert refused.status_code == 400
    assert {"¤50.00", "¤100.00"} <= amounts_in(refused)
    assert smith.balance() == 50


def test_a_frozen_account_cannot_log_in_and_loses_its_sessions_on_every_worker(
    app: Flask, organiser: LoggedIn, neo: LoggedIn
) -> None:
    second = LoggedIn(create_app(bank_of(app).settings).test_client(), neo.number, neo.headers)
    assert second.send("GET", "/account").status_code == 200
    assert organiser.administer("POST", f"/users/{neo.number}/freeze").get_json()["frozen"] is True
    assert second.send("GET", "/account").status_code == 401
    who = {"character_name": "Neo", "password": "password of Neo"}
    refused = neo.client.post("/api/v1/auth/login", json=who)
    assert refused.status_code == 403
    assert "frozen" in refused.get_json()["error"]
    assert neo.client.post("/api/v1/auth/login", json=who | {"password": "wrong"}).status_code == 401
    assert organiser.pay(neo.number, 1).status_code == 201
    assert organiser.administer("POST", f"/users/{neo.number}/adjust-balance", amount=-1, reason="x").status_code == 200
    organiser.administer("POST", f"/users/{neo.number}/unfreeze")
    assert second.send("GET", "/account").status_code == 401
    assert neo.client.post("/api/v1/auth/login", json=who).status_code == 200


def test_a_credit_reaches_every_member_of_a_faction_once(organiser: LoggedIn, player: Join) -> None:
    members = [player(f"Member {index}") for index in range(5)]
    for member in members[:3]:
        member.send("PUT", "/account/profile", faction="runners")
    path = "/factions/RUNNERS/add-credits"
    first, second = (organiser.administer("POST", path, once="k", amount=10, reason="Loot") for _ in range(2))
    assert first.get_json() == second.get_json()
    assert (first.get_json()["affected_users"], first.get_json()["users_affected"]) == (3, 3)
    assert [member.balance() for member in members] == [1010] * 3 + [1000] * 2
    assert (
        organiser.administer("POST", "/factions/None/add-credits", amount=1, reason="x").get_json()["affected_users"]
        == 3
    )
    assert (
        organiser.administer("POST", "/factions/CorpSec/add-credits", amount=1, reason="x").get_json()["affected_users"]
        == 0
    )
    assert organiser.administer("POST", "/factions/Nobody/add-credits", amount=1, reason="x").status_code == 404
    listed = {it["faction"]: it for it in organiser.administer("GET", "/factions/list").get_json()["factions"]}
    assert listed["Runners"] == {"faction": "Runners", "user_count": 3, "total_balance": 3030}
    assert listed["None"]["user_count"] == 3
    assert list(listed) == ["CorpSec", "Runners", "Syndicate", "Technocrats", "None"]


def test_a_credit_reaches_those_who_were_members_when_it_was_requested(
    organiser: LoggedIn, player: Join, owner: Engine, engine: Engine
) -> None:
    """The credit waits for a balance. Meanwhile members leave, move and join."""
    stays, leaves, moves, joins = (player(name) for name in ("Stays", "Leaves", "Moves", "Joins"))
    for member in (stays, leaves, moves):
        member.send("PUT", "/account/profile", faction="Runners")
    path = "/factions/Runners/add-credits"
    with ThreadPoolExecutor(1) as pool:
        with locked_balance(owner, stays.number):
            credited = pool.submit(organiser.administer, "POST", path, amount=10, reason="Loot")
            await_waiting(engine, 1)
            leaves.send("PUT", "/account/profile", faction="")
            moves.send("PUT", "/account/profile", faction="CorpSec")
            joins.send("PUT", "/account/profile", faction="Runners")
            assert not credited.done()
        assert credited.result().get_json()["affected_users"] == 3
    assert [member.balance() for member in (stays, leaves, moves, joins)] == [1010, 1010, 1010, 1000]


@pytest.mark.parametrize(
    "name",
    ["", " ", "a/b", "a?b", "a#b", "x" * 51, "none", "\uff32\uff35\uff2e\uff2e\uff25\uff32\uff33", "a\u200bb", None, 5],
)
def test_an_invalid_faction_name_is_rejected(organiser: LoggedIn, name: object) -> None:
    assert organiser.administer("POST", "/factions/create", name=name).status_code == 400


def test_a_created_faction_can_be_joined(organiser: LoggedIn, neo: LoggedIn) -> None:
    assert organiser.administer("POST", "/factions/create", name="Zion", description="The last city").status_code == 201
    assert neo.send("PUT", "/account/profile", faction="zion").get_json()["account"]["faction"] == "Zion"


def test_all_transactions_are_listed_newest_first(organiser: LoggedIn, neo: LoggedIn) -> None:
    paid = [neo.pay(organiser.number, 1).get_json()["transaction"]["id"] for _ in range(3)]
    first = organiser.administer("GET", "/transactions", limit=2).get_json()["transactions"]
    then = organiser.administer("GET", "/transactions", limit=1, offset=2).get_json()["transactions"]
    assert [it["id"] for it in first + then] == paid[::-1]
    for query in ({"limit": 0}, {"limit": 101}, {"offset": -1}, {"offset": 10**9}, {"page": 1}):
        assert organiser.administer("GET", "/transactions", **query).status_code == 400


def test_the_export_is_csv_in_quotes_with_escaped_formulas(organiser: LoggedIn, player: Join) -> None:
    player("=HYPERLINK(1)")
    player("Neo;=HYPERLINK(1);\u00e4-b")
    player('Comma, "quoted"')
    answer = organiser.administer("GET", "/users/export")
    assert answer.content_type == "text/csv; charset=utf-8"
    rows = list(csv.DictReader(io.StringIO(answer.text, newline="")))
    assert list(rows[0]) == ["Character Name", "Account Number", "Balance", "Faction", "Is Admin", "Created At"]
    names = {"'=HYPERLINK(1)", "Neo;'=HYPERLINK(1);\u00e4-b", 'Comma, "quoted"', "Organiser"}
    assert {row["Character Name"] for row in rows} == names
    assert {row["Balance"] for row in rows} == {"1000.00"}
    assert all(line.startswith('"') and line.endswith('"') for line in answer.text.splitlines())
    for separator in ",;\t":
        for line in csv.reader(io.StringIO(answer.text, newline=""), delimiter=separator):
            assert not [cell for cell in line if cell.startswith(("=", "+", "-", "@"))], separator


def test_the_export_has_the_words_that_old_clients_read(organiser: LoggedIn, player: Join) -> None:
    player("Neo").send("PUT", "/account/profile", faction="Runners")
    text = organiser.administer("GET", "/users/export").text
    rows = {row["Character Name"]: row for row in csv.DictReader(io.StringIO(text, newline=""))}
    assert (rows["Neo"]["Is Admin"], rows["Neo"]["Faction"]) == ("No", "Runners")
    assert (rows["Organiser"]["Is Admin"], rows["Organiser"]["Faction"]) == ("Yes", "None")


@pytest.mark.parametrize(
    "until",
    [
        "0001-01-01T00:00:00+23:59",
        "9999-12-31T23:59:59-23:59",
        "2000-01-01T00:00:00Z",
        "2999-12-31T23:59:59Z",
        pytest.param(TOMORROW[:19], id="without a zone"),
        pytest.param(TOMORROW[:10], id="a date"),
        pytest.param(str(NOW_IN_SECONDS + 3600), id="digits"),
        pytest.param(NOW_IN_SECONDS + 3600, id="a number"),
        "tomorrow",
        "",
        None,
    ],
)
def test_an_exclusion_needs_a_valid_time(organiser: LoggedIn, neo: LoggedIn, until: object) -> None:
    refused = organiser.administer("PUT", f"/users/{neo.number}/exclusion", until=until, reason="On request")
    assert (refused.status_code, refused.content_type) == (400, "application/problem+json")
    assert neo.send("GET", "/account/limits").get_json()["self_excluded_until"] is None


@pytest.mark.parametrize(
    ("change", "status"),
    [
        ({"registration": "closed"}, 200),
        ({"registration": "code", "event_code": "Sprawl"}, 200),
        ({"registration": "code", "event_code": "Sprawl\uff17"}, 200),
        ({"registration": "code", "event_code": "Spraw"}, 400),
        ({"registration": "code", "event_code": " Sp  rw "}, 400),
        ({"event_code": "Spraw"}, 400),
        ({"registration": "code"}, 400),
        ({"registration": "code", "event_code": " "}, 400),
        ({"registration": "sometimes"}, 400),
        ({"read_only": "yes"}, 400),
        ({"read_only": 1}, 400),
        ({"read_only": "", "registration": "", "event_code": ""}, 200),
        ({}, 200),
    ],
)
def test_the_switches_accept_valid_values_only(organiser: LoggedIn, change: dict[str, object], status: int) -> None:
    before = organiser.administer("GET", "/switches").get_json()
    answer = organiser.administer("PUT", "/switches", **change)
    assert answer.status_code == status
    given = {name: value for name, value in change.items() if value != ""}
    expected = {**before, **given} if status == 200 else before
    assert organiser.administer("GET", "/switches").get_json() == expected


def test_read_only_also_stops_organisers_from_moving_money_until_switched_off(
    organiser: LoggedIn, neo: LoggedIn, engine: Engine
) -> None:
    paid = neo.pay(organiser.number, 1).get_json()["transaction"]["id"]
    organiser.administer("PUT", "/switches", read_only=True)
    before = audited(engine)
    refused: list[tuple[str, dict[str, object]]] = [
        (f"/users/{neo.number}/adjust-balance", {"amount": 1, "reason": "x"}),
        (f"/transactions/{paid}/reverse", {"reason": "x"}),
        ("/factions/None/add-credits", {"amount": 1, "reason": "x"}),
    ]
    for path, body in refused:
        assert organiser.administer("POST", path, **body).status_code == 403
    assert audited(engine) == before
    organiser.administer("PUT", "/switches", read_only=False)
    assert neo.pay(organiser.number, 1).status_code == 201


def test_all_balances_of_the_bank_sum_to_zero(organiser: LoggedIn, neo: LoggedIn) -> None:
    before, won = organiser.administer("GET", "/stats").get_json(), 0
    assert (before["total"], before["players"], before["active_players"]) == (0, 2, 2)
    assert (before["money_supply"], before["house_balance"], before["rounds"]) == (2000, 10_000_000, 0)
    for _ in range(3):
        won += neo.send("POST", "/casino/glitch-grid/spin", bet_amount=10).get_json()["win_amount"] - 10
    after = organiser.administer("GET", "/stats").get_json()
    assert (after["total"], after["rounds"]) == (0, 3)
    assert (after["money_supply"], after["house_balance"]) == (2000 + won, 10_000_000 - won)


def test_the_audit_log_lists_who_did_what(organiser: LoggedIn, neo: LoggedIn) -> None:
    organiser.administer("POST", f"/users/{neo.number}/adjust-balance", amount=5, reason="Found it")
    organiser.administer("POST", f"/users/{neo.number}/reset-password", new_password="hunter2hunter2")
    answer = organiser.administer("GET", "/audit-logs")
    last, first = answer.get_json()["logs"]
    assert (first["admin"], first["action"], first["target"]) == ("Organiser", "adjust_balance", neo.number)
    assert (first["data"]["amount"], first["data"]["reason"]) == (5, "Found it")
    assert {"amount: 5", "reason: Found it"} <= set(first["details"].replace(".0", "").split(", "))
    assert (last["action"], last["details"], last["data"]) == ("reset_password", "revoked_keys: 0", {"revoked_keys": 0})
    assert "hunter2" not in answer.text
    assert organiser.administer("GET", "/audit-logs", limit=1, offset=1).get_json()["logs"] == [first]


def test_players_can_pay_while_the_audit_chain_is_locked(organiser: LoggedIn, neo: LoggedIn, engine: Engine) -> None:
    with engine.begin() as connection:
        connection.execute(
            text("SELECT record_audit(account_id, 'test', 'test', '{}') FROM players WHERE is_admin LIMIT 1")
        )
        assert neo.pay(organiser.number, 1).status_code == 201
        connection.rollback()


def test_concurrent_organisers_and_players_do_not_deadlock(organiser: LoggedIn, player: Join, engine: Engine) -> None:
    crowd = [player(f"Player {index}") for index in range(4)]

    def work(index: int) -> list[int]:
        statuses = []
        for turn in range(12):
            me, other = crowd[index % 4], crowd[(index + turn) % 4]
            match index % 4:
                case 0:
                    answer = organiser.administer("POST", f"/users/{me.number}/adjust-balance", amount=1, reason="x")
                case 1:
                    answer = organiser.administer("POST", "/factions/None/add-credits", amount=0.01, reason="x")
                case 2:
                    paid = me.pay(organiser.number, 0.5)
                    statuses.append(paid.status_code)
                    number = paid.get_json()["transaction"]["id"]
                    answer = organiser.administer("POST", f"/transactions/{number}/reverse", reason="x")
                case _:
                    answer = me.pay(other.number, 0.25)
            statuses.append(answer.status_code if me is not other else 201)
        return statuses

    with ThreadPoolExecutor(16) as pool:
        statuses = [status for result in pool.map(work, range(16)) for status in result]
    assert set(statuses) <= {200, 201}, statuses
    assert audited(engine) == 12 * 12


def test_a_new_bank_lists_its_opening_transactions_and_no_audit_rows(client: FlaskClient, organiser: LoggedIn) -> None:
    del client
    assert organiser.administer("GET", "/transactions").get_json()["transactions"]
    assert organiser.administer("GET", "/audit-logs").get_json() == {"logs": []}
