"""A repeated request with the same idempotency key moves money once."""

from concurrent.futures import ThreadPoolExecutor

import pytest
from flask import Flask
from sqlalchemy import Engine, text
from werkzeug.test import TestResponse

from neobank.web import idempotency
from tests.service.support import Join, LoggedIn

pytestmark = pytest.mark.usefixtures("books")

RECORDS = text("SELECT count(*) FROM idempotency_records")


def test_a_repeated_request_gets_the_same_response(player: Join) -> None:
    neo, trinity = player("Neo"), player("Trinity")
    first, second = neo.pay(trinity.number, 10.25, once="k"), neo.pay(trinity.number, 10.25, once="k")
    assert (first.status_code, second.status_code) == (201, 201)
    assert second.get_json() == first.get_json()
    assert (neo.balance(), trinity.balance()) == (989.75, 1010.25)


def test_a_different_request_with_the_key_is_rejected(player: Join) -> None:
    neo, trinity = player("Neo"), player("Trinity")
    neo.pay(trinity.number, 1, once="k")
    refused = neo.pay(trinity.number, 2, once="k")
    assert refused.status_code == 422
    assert "key" in refused.get_json()["error"]
    assert neo.balance() == 999


def test_two_senders_can_use_the_same_key(player: Join) -> None:
    neo, trinity = player("Neo"), player("Trinity")
    assert neo.pay(trinity.number, 1, once="k").status_code == 201
    assert trinity.pay(neo.number, 3, once="k").status_code == 201
    assert (neo.balance(), trinity.balance()) == (1002, 998)


def test_a_rejected_request_does_not_use_up_its_key(player: Join, engine: Engine) -> None:
    neo, trinity = player("Neo"), player("Trinity")
    assert neo.pay(trinity.number, 1001, once="k").status_code == 400
    with engine.connect() as connection:
        assert connection.execute(RECORDS).scalar_one() == 0
    trinity.pay(neo.number, 1)
    assert neo.pay(trinity.number, 1001, once="k").status_code == 201


def test_requests_without_a_key_each_pay(player: Join) -> None:
    neo, trinity = player("Neo"), player("Trinity")
    assert [neo.pay(trinity.number, 1).status_code for _ in range(2)] == [201, 201]
    assert neo.balance() == 998


@pytest.mark.parametrize("key", ["", "x" * 201, "schl\u00fcssel", "a\tb"])
def test_an_invalid_key_is_rejected(player: Join, key: str) -> None:
    neo, trinity = player("Neo"), player("Trinity")
    assert neo.pay(trinity.number, 1, once=key).status_code == 400
    assert neo.balance() == 1000


def test_twenty_concurrent_requests_pay_once(app: Flask, player: Join) -> None:
    neo, trinity = player("Neo"), player("Trinity")

    def send(_: int) -> TestResponse:
        with app.test_client() as client:
            return LoggedIn(client, neo.number, neo.headers).pay(trinity.number, 7, once="k")

    with ThreadPoolExecutor(4) as pool:  # as many as the application has connections
        answers = list(pool.map(send, range(20)))
    assert {answer.status_code for answer in answers} == {201}
    assert len({answer.get_json()["transaction"]["id"] for answer in answers}) == 1
    assert neo.balance() == 993


def test_a_request_waits_a_limited_time_for_an_unfinished_one_with_its_key(player: Join, engine: Engine) -> None:
    neo, trinity = player("Neo"), player("Trinity")
    claim = {"caller": neo.number, "key": "k", "request_hash": b""}
    with engine.connect() as other, other.begin() as under_way:
        other.execute(idempotency._CLAIM, claim)
        answer = neo.pay(trinity.number, 1, once="k")
        assert answer.status_code == 409
        assert "Idempotency-Key" in answer.get_json()["error"]
        under_way.rollback()
    assert neo.pay(trinity.number, 1, once="k").status_code == 201
    assert neo.balance() == 999


def test_responses_are_deleted_after_a_day(player: Join, owner: Engine) -> None:
    neo, trinity = player("Neo"), player("Trinity")
    neo.pay(trinity.number, 1, once="old")
    neo.pay(trinity.number, 1, once="new")
    age = text("UPDATE idempotency_records SET created_at = now() - :hours * interval '1 hour' WHERE key = :key")
    with owner.begin() as connection:
        connection.execute(age, [{"key": "old", "hours": 25}, {"key": "new", "hours": 23}])
    with owner.begin() as connection:
        assert idempotency.forget(connection) == 1
        assert connection.execute(RECORDS).scalar_one() == 1
    neo.pay(trinity.number, 1, once="old")
    neo.pay(trinity.number, 1, once="new")
    assert neo.balance() == 997
