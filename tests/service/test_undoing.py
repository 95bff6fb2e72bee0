"""A payment is undone at most once, by a refund of the vendor or a reversal of an organiser."""

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
