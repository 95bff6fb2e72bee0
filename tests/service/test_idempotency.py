"""The same request twice moves money once, whatever happens in between."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest
from flask import Flask
from sqlalchemy import Engine, text
from werkzeug.test import TestResponse

from neobank.web import idempotency
from tests.service.support import LoggedIn

pytestmark = pytest.mark.usefixtures("books")

Join = Callable[[str], LoggedIn]
RECORDS = text("SELECT count(*) FROM idempotency_records")


def pay(payer: LoggedIn, to: LoggedIn, amount: float, key: str | None) -> TestResponse:
    headers = payer.headers | ({} if key is None else {"Idempotency-Key": key})
    return payer.client.post("/api/v1/transactions", json={"to_account": to.number, "amount": amount}, headers=headers)


def balance(of: LoggedIn) -> float:
    found: float = of.client.get("/api/v1/account", headers=of.headers).get_json()["account"]["balance"]
    return found


def test_the_same_request_again_is_given_the_same_answer(player: Join) -> None:
    neo, trinity = player("Neo"), player("Trinity")
    first, second = pay(neo, trinity, 10.25, "k"), pay(neo, trinity, 10.25, "k")
    assert (first.status_code, second.status_code) == (201, 201)
    assert second.get_json() == first.get_json()
    assert (balance(neo), balance(trinity)) == (989.75, 1010.25)


def test_another_request_with_the_key_is_refused(player: Join) -> None:
    neo, trinity = player("Neo"), player("Trinity")
    pay(neo, trinity, 1, "k")
    refused = pay(neo, trinity, 2, "k")
    assert refused.status_code == 422
    assert "key of its own" in refused.get_json()["error"]
    assert balance(neo) == 999


def test_a_key_is_its_sender_s_own(player: Join) -> None:
    neo, trinity = player("Neo"), player("Trinity")
    assert pay(neo, trinity, 1, "k").status_code == 201
    assert pay(trinity, neo, 3, "k").status_code == 201
    assert (balance(neo), balance(trinity)) == (1002, 998)


def test_a_refused_request_leaves_its_key_free(player: Join, engine: Engine) -> None:
    neo, trinity = player("Neo"), player("Trinity")
    assert pay(neo, trinity, 1001, "k").status_code == 400
    with engine.connect() as connection:
        assert connection.execute(RECORDS).scalar_one() == 0
    pay(trinity, neo, 1, None)
    assert pay(neo, trinity, 1001, "k").status_code == 201


def test_without_a_key_each_request_pays(player: Join) -> None:
    neo, trinity = player("Neo"), player("Trinity")
    assert [pay(neo, trinity, 1, None).status_code for _ in range(2)] == [201, 201]
    assert balance(neo) == 998


@pytest.mark.parametrize("key", ["", "x" * 201, "schl\u00fcssel", "a\tb"])
def test_a_key_that_can_not_be_kept_is_refused(player: Join, key: str) -> None:
    neo, trinity = player("Neo"), player("Trinity")
    assert pay(neo, trinity, 1, key).status_code == 400
    assert balance(neo) == 1000


def test_twenty_at_once_pay_once(app: Flask, player: Join) -> None:
    neo, trinity = player("Neo"), player("Trinity")

    def send(_: int) -> TestResponse:
        with app.test_client() as client:
            return pay(LoggedIn(client, neo.number, neo.headers), trinity, 7, "k")

    with ThreadPoolExecutor(4) as pool:  # as many as the application has connections
        answers = list(pool.map(send, range(20)))
    assert {answer.status_code for answer in answers} == {201}
    assert len({answer.get_json()["transaction"]["id"] for answer in answers}) == 1
    assert balance(neo) == 993


def test_a_request_that_is_under_way_is_waited_for_and_not_for_ever(player: Join, engine: Engine) -> None:
    neo, trinity = player("Neo"), player("Trinity")
    claim = {"caller": neo.number, "key": "k", "request_hash": b""}
    with engine.connect() as other, other.begin() as under_way:
        other.execute(idempotency._CLAIM, claim)
        answer = pay(neo, trinity, 1, "k")
        assert answer.status_code == 409
        assert "under way" in answer.get_json()["error"]
        under_way.rollback()
    assert pay(neo, trinity, 1, "k").status_code == 201
    assert balance(neo) == 999


def test_answers_are_forgotten_after_a_day(player: Join, owner: Engine) -> None:
    neo, trinity = player("Neo"), player("Trinity")
    pay(neo, trinity, 1, "old")
    with owner.begin() as connection:
        connection.execute(text("UPDATE idempotency_records SET created_at = now() - interval '25 hours'"))
    pay(neo, trinity, 1, "new")
    with owner.begin() as connection:
        assert idempotency.forget(connection) == 1
        assert connection.execute(RECORDS).scalar_one() == 1
    pay(neo, trinity, 1, "old")
    pay(neo, trinity, 1, "new")
    assert balance(neo) == 997
