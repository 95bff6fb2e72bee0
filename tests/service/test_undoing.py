"""A payment is undone at most once, by a refund of the vendor or a reversal of an organiser."""

from concurrent.futures import ThreadPoolExecutor

import pytest
from werkzeug.test import TestResponse

from tests.service.support import Join, LoggedIn, Terminal

pytestmark = pytest.mark.usefixtures("books")


def paid(till: Terminal, by: LoggedIn) -> tuple[int, int]:
    """Create and approve a charge of ¤10; return its id and the id of the payment."""
    charge = till.send("POST", "/charges", amount=10).get_json()
    approved = by.send("POST", f"/charges/{charge['code']}/approve")
    assert approved.status_code == 201, approved.text
    return charge["id"], approved.get_json()["transaction"]["id"]


def reverse(organiser: LoggedIn, transfer: int) -> TestResponse:
    return organiser.administer("POST", f"/transactions/{transfer}/reverse", reason="Oops")


def test_a_reversed_payment_cannot_be_refunded(till: Terminal, player: Join, organiser: LoggedIn) -> None:
    neo = player("Neo")
    charge, payment = paid(till, neo)
    assert reverse(organiser, payment).status_code == 200
    refused = till.send("POST", f"/charges/{charge}/refund")
    assert (refused.status_code, neo.balance()) == (409, 1000)
    assert "reversed" in refused.get_json()["error"]


def test_a_refunded_payment_and_its_refund_cannot_be_reversed(
    till: Terminal, player: Join, organiser: LoggedIn
) -> None:
    neo = player("Neo")
    charge, payment = paid(till, neo)
    refund = till.send("POST", f"/charges/{charge}/refund").get_json()["transaction"]["id"]
    assert [reverse(organiser, transfer).status_code for transfer in (payment, refund)] == [409, 409]
    assert neo.balance() == 1000


def test_a_concurrent_refund_and_reversal_undo_a_payment_once(
    till: Terminal, player: Join, organiser: LoggedIn
) -> None:
    neo = player("Neo")
    for _ in range(5):
        charge, payment = paid(till, neo)
        with ThreadPoolExecutor(4) as pool:
            futures = [pool.submit(till.send, "POST", f"/charges/{charge}/refund") for _ in range(2)]
            futures += [pool.submit(reverse, organiser, payment) for _ in range(2)]
            statuses = sorted(each.result().status_code for each in futures)
        assert statuses[0] in {200, 201}
        assert statuses[1:] == [409] * 3
        assert neo.balance() == 1000
