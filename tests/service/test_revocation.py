"""What one worker ends is invalid at once on the other, which has just used it: sessions, keys, roles and switches."""

from dataclasses import dataclass

import pytest
from sqlalchemy import Engine, text

from tests.bank import Bank, Player
from tests.service.serving import Served
from tests.service.support import ADMINISTRATOR

FIRST_SESSION = text(
    "SELECT min(sessions.id) FROM sessions JOIN accounts ON accounts.id = account_id WHERE number = :number"
)


@pytest.fixture
def organiser(served: Served) -> Player:
    return served.bank.log_in(ADMINISTRATOR.name, ADMINISTRATOR.password)


@dataclass(frozen=True)
class Request:
    """A request; `{number}` and `{session}` in its path are those of the phone."""

    by: str
    method: str
    path: str
    body: dict[str, object] | None = None


NEW = "a longer password"
ENDINGS = {
    "a logout": Request("phone", "POST", "/api/v1/auth/logout"),
    "a change of the password": Request(
        "tablet",
        "PUT",
        "/api/v1/account/password",
        {"current_password": "password of {name}", "new_password": NEW},
    ),
    "the player on another device, all other sessions": Request("tablet", "DELETE", "/api/v1/account/sessions"),
    "the player on another device, this session": Request("tablet", "DELETE", "/api/v1/account/sessions/{session}"),
    "freezing": Request("organiser", "POST", "/api/admin/users/{number}/freeze"),
    "an organiser": Request("organiser", "DELETE", "/api/admin/users/{number}/sessions"),
    "a reset of the password": Request(
        "organiser", "POST", "/api/admin/users/{number}/reset-password", {"new_password": NEW}
    ),
}
"""Requests that end the session of the phone."""


def account_status(bank: Bank, token: str) -> int:
    return bank.call("/api/v1/account", token=token)[0]


def test_a_session_ended_by_one_worker_is_invalid_at_once_on_the_other(
    served: Served, organiser: Player, engine: Engine
) -> None:
    bank = served.bank
    receiver = bank.join("Receiver")
    for turn, (name, ending) in enumerate(ENDINGS.items()):
        here, there = sorted(served.workers(), reverse=bool(turn % 2))
        player = f"Player {turn}"
        phone, tablet = bank.join(player), bank.log_in(player, f"password of {player}")
        with engine.connect() as connection:
            session = connection.execute(FIRST_SESSION, {"number": phone.number}).scalar_one()
        for worker in (here, there):
            with served.only(worker):
                assert account_status(bank, phone.token) == 200, name
        with served.only(here):
            by = {"phone": phone, "tablet": tablet, "organiser": organiser}[ending.by]
            path = ending.path.format(number=phone.number, session=session)
            body: dict[str, object] = {
                field: str(value).format(name=player) for field, value in (ending.body or {}).items()
            }
            status, answer = bank.call(path, body, by.token, method=ending.method)
            assert status in {200, 204}, (name, answer)
        for worker in (there, here):
            with served.only(worker):
                assert account_status(bank, phone.token) == 401, name
                assert bank.pay(phone, receiver, 1)[0] == 401, name
    assert bank.balance(receiver) == 1000


def test_a_revoked_key_role_or_switch_applies_at_once_on_the_other_worker(served: Served, organiser: Player) -> None:
    bank = served.bank
    here, there = served.workers()
    bar, neo, smith = (bank.join(name) for name in ("Bar", "Neo", "Smith"))
    wanted: dict[str, object] = {"description": "bar", "account": bar.number}
    keys = [bank.call("/api/admin/api-keys", wanted, organiser.token)[1] for _ in range(2)]
    revoked, frozen = ({"X-API-Key": made["key"]} for made in keys)
    balance = f"/api/v1/external/account/{bar.number}/balance"
    toggle = f"/api/admin/users/{smith.number}/toggle-admin"

    def statuses() -> list[int]:
        return [
            bank.call(balance, more_headers=revoked)[0],
            bank.call(balance, more_headers=frozen)[0],
            bank.call("/api/admin/stats", token=smith.token)[0],
            bank.pay(neo, smith, 1)[0],
        ]

    assert bank.call(toggle, {}, organiser.token)[0] == 200
    for worker in (here, there):
        with served.only(worker):
            assert statuses() == [200, 200, 200, 201]
    with served.only(here):
        made = keys[0]["api_key"]["id"]
        assert bank.call(f"/api/admin/api-keys/{made}", token=organiser.token, method="DELETE")[0] == 200
    with served.only(there):
        assert statuses() == [401, 200, 200, 201]
        assert bank.call(f"/api/admin/users/{bar.number}/freeze", {}, organiser.token)[0] == 200
    with served.only(here):
        assert statuses() == [401, 403, 200, 201]
        assert bank.call(toggle, {}, organiser.token)[0] == 200
    with served.only(there):
        assert statuses() == [401, 403, 403, 201]
        assert bank.call("/api/admin/switches", {"read_only": True}, organiser.token, method="PUT")[0] == 200
    with served.only(here):
        assert statuses() == [401, 403, 403, 403]
