"""A charge is paid at most once, by the player it is for, under any concurrency."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest
from flask import Flask
from sqlalchemy import Engine, text
from werkzeug.test import TestResponse

from neobank.vendors import charges
from tests.service.statements import recorded
from tests.service.support import Join, LoggedIn, NewTerminal, Terminal, bank_of

pytestmark = pytest.mark.usefixtures("books")


def opened(till: Terminal, **body: object) -> dict[str, object]:
    answer = till.send("POST", "/charges", **{"amount": 12.5, "memo": "Two beers"} | body)
    assert answer.status_code == 201, answer.text
    found: dict[str, object] = answer.get_json()
    return found


def approve(by: LoggedIn, charge: dict[str, object], once: str | None = None) -> TestResponse:
    headers = by.headers | ({} if once is None else {"Idempotency-Key": once})
    return by.client.post(f"/api/v1/charges/{charge['code']}/approve", headers=headers)


def state(till: Terminal, charge: dict[str, object]) -> str:
    found: str = till.send("GET", f"/charges/{charge['id']}").get_json()["status"]
    return found


def pass_time(owner: Engine) -> None:
    with owner.begin() as connection:
        connection.execute(text("UPDATE charges SET expires_at = now() - interval '1 second'"))


def test_a_terminal_creates_a_charge_and_a_player_pays_it(till: Terminal, player: Join, bar: LoggedIn) -> None:
    neo = player("Neo")
    charge = opened(till, player=neo.number)
    assert charge["status"] == "pending"
    assert charge["approve_url"] == f"/charges/{charge['code']}"
    [listed] = neo.send("GET", "/charges", status="pending").get_json()["charges"]
    assert listed == charge
    polled = till.send("GET", f"/charges/{charge['id']}")
    assert polled.get_json() == charge
    assert int(polled.headers["Retry-After"]) > 0
    paid = approve(neo, charge)
    assert paid.status_code == 201
    assert paid.get_json()["new_balance"] == 987.5
    transaction = paid.get_json()["transaction"]
    assert (transaction["type"], transaction["memo"], transaction["to_account"]) == (
        "vendor_charge",
        "Two beers",
        bar.number,
    )
    polled = till.send("GET", f"/charges/{charge['id']}")
    assert polled.get_json()["status"] == "approved"
    assert polled.get_json()["transaction"] == transaction
    assert "Retry-After" not in polled.headers
    assert (neo.balance(), bar.balance()) == (987.5, 1012.5)
    assert neo.send("GET", "/charges").get_json() == {"charges": []}


@pytest.mark.parametrize("write", [str.lower, lambda code: f" {code[:4]}-{code[4:]} "])
def test_a_charge_without_a_player_is_paid_by_its_code(
    till: Terminal, player: Join, write: Callable[[str], str]
) -> None:
    neo = player("Neo")
    charge = opened(till)
    assert neo.send("GET", "/charges").get_json() == {"charges": []}
    typed = write(str(charge["code"]))
    assert neo.send("GET", f"/charges/{typed}").get_json()["amount"] == 12.5
    assert approve(neo, {"code": typed}).status_code == 201


def test_a_charge_without_a_player_is_declined_by_no_player(till: Terminal, player: Join) -> None:
    neo, charge = player("Neo"), opened(till)
    refused = neo.send("POST", f"/charges/{charge['code']}/decline")
    assert refused.status_code == 403
    assert "vendor" in refused.get_json()["error"]
    assert state(till, charge) == "pending"
    assert approve(neo, charge).status_code == 201


def test_a_vendor_has_a_limited_number_of_pending_charges_for_a_player(
    till: Terminal, terminal: NewTerminal, player: Join, bar: LoggedIn, owner: Engine
) -> None:
    neo, trinity = player("Neo"), player("Trinity")
    terminals = [till, terminal(account=bar.number)]  # of one vendor
    with ThreadPoolExecutor(8) as pool:
        answers = list(
            pool.map(
                lambda turn: terminals[turn % 2].send("POST", "/charges", amount=1, player=neo.number),
                range(charges.MAX_PENDING + 6),
            )
        )
    assert sorted(answer.status_code for answer in answers) == [201] * charges.MAX_PENDING + [409] * 6
    [refused, *_] = [answer.get_json()["error"] for answer in answers if answer.status_code == 409]
    assert neo.number in refused
    opened(till, player=trinity.number)
    opened(till)
    [last, *_] = neo.send("GET", "/charges").get_json()["charges"]
    assert neo.send("POST", f"/charges/{last['code']}/decline").status_code == 200
    opened(till, player=neo.number)
    pass_time(owner)
    opened(till, player=neo.number)


def test_the_charges_of_one_vendor_hide_no_other_vendor_s(
    till: Terminal, terminal: NewTerminal, player: Join, owner: Engine
) -> None:
    """Also charges that an image without the limit creates during an upgrade."""
    neo = player("Neo")
    other = opened(terminal(account=player("Kiosk").number), player=neo.number)
    charge = opened(till, player=neo.number)
    with owner.begin() as connection:
        connection.execute(
            text(
                "INSERT INTO charges (code, account_id, player_id, amount, memo, expires_at)"
                " SELECT 'X' || i, account_id, player_id, amount, memo, expires_at FROM charges,"
                " generate_series(1, :more) AS i WHERE id = :id"
            ),
            {"id": charge["id"], "more": charges.MAX_LISTED + 5},
        )
    listed = neo.send("GET", "/charges").get_json()["charges"]
    assert len(listed) == charges.MAX_LISTED
    assert other in listed
    assert [it["id"] for it in listed] == sorted((it["id"] for it in listed), reverse=True)


def test_a_charge_for_one_player_looks_unknown_to_others(till: Terminal, player: Join) -> None:
    neo, smith = player("Neo"), player("Smith")
    charge = opened(till, player=neo.number)
    answers = [
        smith.send("GET", f"/charges/{charge['code']}"),
        approve(smith, charge),
        smith.send("POST", f"/charges/{charge['code']}/decline"),
        smith.send("GET", "/charges/00000000"),
    ]
    assert [answer.status_code for answer in answers] == [404] * 4
    assert len({answer.get_json()["error"] for answer in answers}) == 1
    assert state(till, charge) == "pending"


def test_a_charge_is_visible_to_all_terminals_of_its_vendor_only(
    till: Terminal, player: Join, terminal: NewTerminal, bar: LoggedIn
) -> None:
    charge = opened(till)
    stranger = terminal(scope="debit", account=player("Smith").number)
    for method, path in [("GET", ""), ("DELETE", ""), ("POST", "/refund")]:
        assert stranger.send(method, f"/charges/{charge['id']}{path}").status_code == 404
    second = terminal(account=bar.number)  # the same vendor's other terminal
    assert second.send("GET", f"/charges/{charge['id']}").get_json() == charge


def test_concurrent_approvals_pay_a_charge_once(till: Terminal, player: Join, bar: LoggedIn) -> None:
    phones = [player(f"Player {index}") for index in range(4)] * 4
    charge = opened(till)
    with ThreadPoolExecutor(16) as pool:
        answers = list(pool.map(lambda phone: approve(phone, charge), phones))
    assert sorted(answer.status_code for answer in answers) == [201] + [409] * 15
    assert bar.balance() == 1012.5


def test_repeated_approvals_with_one_key_get_one_response(till: Terminal, player: Join, bar: LoggedIn) -> None:
    neo, charge = player("Neo"), opened(till)
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: approve(neo, charge, once="k"), range(8)))
    assert {answer.status_code for answer in answers} == {201}
    assert len({answer.get_json()["transaction"]["id"] for answer in answers}) == 1
    assert bar.balance() == 1012.5


def test_repeated_requests_with_one_key_create_one_charge(till: Terminal, engine: Engine) -> None:
    with ThreadPoolExecutor(20) as pool:
        answers = list(pool.map(lambda _: till.send("POST", "/charges", once="k", amount=3), range(20)))
    assert {answer.status_code for answer in answers} == {201}
    assert len({answer.get_json()["id"] for answer in answers}) == 1
    with engine.connect() as connection:
        assert connection.execute(text("SELECT count(*) FROM charges")).scalar_one() == 1


def test_either_a_concurrent_cancellation_or_the_approval_succeeds(till: Terminal, player: Join, bar: LoggedIn) -> None:
    neo = player("Neo")
    for _ in range(10):
        charge, before = opened(till, amount=1), bar.balance()
        with ThreadPoolExecutor(2) as pool:
            paid = pool.submit(approve, neo, charge)
            cancelled = pool.submit(till.send, "DELETE", f"/charges/{charge['id']}")
            statuses = (paid.result().status_code, cancelled.result().status_code)
        assert statuses in {(201, 409), (409, 200)}
        assert bar.balance() - before == (1 if statuses[0] == 201 else 0)
        assert state(till, charge) == ("approved" if statuses[0] == 201 else "cancelled")


def test_the_final_status_of_a_charge_never_changes(till: Terminal, player: Join, owner: Engine) -> None:
    neo = player("Neo")
    declined, cancelled, expired, approved = (opened(till, player=neo.number) for _ in range(4))
    assert neo.send("POST", f"/charges/{declined['code']}/decline").get_json()["status"] == "declined"
    assert till.send("DELETE", f"/charges/{cancelled['id']}").get_json()["status"] == "cancelled"
    assert approve(neo, approved).status_code == 201
    pass_time(owner)
    for charge, status in [
        (declined, "declined"),
        (cancelled, "cancelled"),
        (expired, "expired"),
        (approved, "approved"),
    ]:
        assert state(till, charge) == status
        for answer in (
            approve(neo, charge),
            neo.send("POST", f"/charges/{charge['code']}/decline"),
            till.send("DELETE", f"/charges/{charge['id']}"),
        ):
            assert answer.status_code == 409
            assert status in answer.get_json()["error"]
    assert neo.balance() == 987.5


def test_a_charge_is_refunded_once_and_never_by_more_than_was_paid(till: Terminal, player: Join, bar: LoggedIn) -> None:
    neo, charge = player("Neo"), opened(till)
    assert till.send("POST", f"/charges/{charge['id']}/refund").status_code == 409
    approve(neo, charge)
    too_much = till.send("POST", f"/charges/{charge['id']}/refund", amount=12.51)
    assert too_much.status_code == 400
    assert "12.50" in too_much.get_json()["error"]
    with ThreadPoolExecutor(8) as pool:
        path = f"/charges/{charge['id']}/refund"
        answers = list(pool.map(lambda _: till.send("POST", path, amount=10.5), range(8)))
    assert sorted(answer.status_code for answer in answers) == [201] + [409] * 7
    [refund] = [it.get_json()["transaction"] for it in answers if it.status_code == 201]
    assert (refund["type"], refund["amount"], refund["to_account"]) == ("refund", 10.5, neo.number)
    assert (neo.balance(), bar.balance()) == (998, 1002)
    assert till.send("GET", f"/charges/{charge['id']}").get_json()["refunded"] is True


def test_a_refund_without_an_amount_is_full_and_idempotent_by_its_key(till: Terminal, player: Join) -> None:
    neo, charge = player("Neo"), opened(till)
    approve(neo, charge)
    path = f"/charges/{charge['id']}/refund"
    first, second = (till.send("POST", path, once="r") for _ in range(2))
    assert first.get_json() == second.get_json()
    assert neo.balance() == 1000


def test_a_concurrent_refund_and_reversal_undo_a_payment_once(
    till: Terminal, player: Join, bar: LoggedIn, organiser: LoggedIn
) -> None:
    neo = player("Neo")
    for _ in range(5):
        charge = opened(till)
        paid = approve(neo, charge).get_json()["transaction"]["id"]
        reversal = f"/api/admin/transactions/{paid}/reverse"

        def undo(turn: int, charge: dict[str, object] = charge, reversal: str = reversal) -> TestResponse:
            if turn % 2:
                return till.send("POST", f"/charges/{charge['id']}/refund")
            return till.client.post(reversal, json={"reason": "Oops"}, headers=organiser.headers)

        with ThreadPoolExecutor(6) as pool:
            answers = list(pool.map(undo, range(6)))
        assert sorted(answer.status_code for answer in answers)[1:] == [409] * 5
        assert (neo.balance(), bar.balance()) == (1000, 1000)


def test_a_vendor_with_too_little_money_cannot_refund(till: Terminal, player: Join, bar: LoggedIn) -> None:
    neo, charge = player("Neo"), opened(till)
    approve(neo, charge)
    bar.pay(neo.number, 1012)
    assert till.send("POST", f"/charges/{charge['id']}/refund").status_code == 400
    assert till.send("GET", f"/charges/{charge['id']}").get_json()["refunded"] is False
    assert bar.balance() == 0.5


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"amount": 0}, "amount"),
        ({"amount": "5"}, "amount"),
        ({"amount": None}, "amount"),
        ({"amount": 0.001}, "amount"),
        ({"memo": "x" * 141}, "memo"),
        ({"player": "NC-NONE-0000"}, "NC-NONE-0000"),
        ({"player": "NC-CASA-0000"}, "NC-CASA-0000"),
        ({"player": "own"}, "own account"),
        ({"code": "AAAA"}, "code"),
    ],
)
def test_an_invalid_charge_is_rejected(till: Terminal, bar: LoggedIn, change: dict[str, object], named: str) -> None:
    body = {"amount": 1} | {key: bar.number if value == "own" else value for key, value in change.items()}
    refused = till.send("POST", "/charges", **body)
    assert refused.status_code == 400
    assert named in refused.get_json()["error"]


def test_a_vendor_cannot_approve_its_own_charge(till: Terminal, bar: LoggedIn) -> None:
    charge = opened(till)
    assert approve(bar, charge).status_code == 400
    assert state(till, charge) == "pending"


def test_an_approval_with_too_little_money_leaves_the_charge_pending(till: Terminal, player: Join) -> None:
    neo, charge = player("Neo"), opened(till, amount=1000.01)
    assert approve(neo, charge).status_code == 400
    assert state(till, charge) == "pending"


def test_read_only_stops_approvals_and_refunds(till: Terminal, player: Join, owner: Engine) -> None:
    neo, paid, charge = player("Neo"), opened(till), opened(till)
    approve(neo, paid)
    with owner.begin() as connection:
        connection.execute(text("UPDATE switches SET read_only = true"))
    assert approve(neo, charge).status_code == 403
    assert till.send("POST", f"/charges/{paid['id']}/refund").status_code == 403
    assert state(till, charge) == "pending"


def test_polling_sends_two_statements_and_an_approval_five(app: Flask, till: Terminal, player: Join) -> None:
    neo, charge = player("Neo"), opened(till)
    with recorded(bank_of(app).engine) as sent:
        state(till, charge)
    assert len(sent) == 2, sent
    with recorded(bank_of(app).engine) as sent:
        approve(neo, charge)
    assert len(sent) == 5, sent


def test_only_unpaid_charges_are_deleted_after_a_day(
    till: Terminal, player: Join, owner: Engine, engine: Engine
) -> None:
    neo, paid, _ = player("Neo"), opened(till), opened(till)
    approve(neo, paid)
    with owner.begin() as connection:
        connection.execute(text("UPDATE charges SET expires_at = now() - interval '2 days'"))
    still = opened(till)
    with engine.begin() as connection:
        assert charges.forget_unpaid(connection) == 1
    assert state(till, paid) == "approved"
    assert state(till, still) == "pending"
