"""Each route rejects every caller without permission, discloses nothing and changes nothing."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum

import pytest
from flask import Flask
from flask.testing import FlaskClient
from sqlalchemy import Engine, text
from werkzeug.test import TestResponse

from tests.service.gambling import GLITCH, played
from tests.service.support import Join, LoggedIn, NewTerminal

pytestmark = pytest.mark.usefixtures("books")

SECRET = "at midnight by the old mill"
"""The text of a memo, a device name and a key description that no unauthorised response may contain."""


class Callers(Enum):
    """The callers that a route is for."""

    PUBLIC = "public"
    PLAYERS = "players"
    ORGANISERS = "organisers"
    KEYS = "keys"


@dataclass(frozen=True)
class Route:
    """A request to a route, and the statuses of callers with too few permissions."""

    callers: Callers
    method: str
    path: str
    body: Mapping[str, object] = field(default_factory=dict)
    another: int | None = None
    """The status for another player or vendor; None if the path names nothing that has an owner."""
    narrow: int | None = None
    """The status for a key that may only request payments; None if it may use the route."""


def of_players(method: str, path: str, another: int | None = None, **body: object) -> Route:
    return Route(Callers.PLAYERS, method, f"/api/v1{path}", body, another)


def of_keys(method: str, path: str, another: int | None = None, narrow: int | None = None, **body: object) -> Route:
    return Route(Callers.KEYS, method, f"/api/v1/external{path}", body, another, narrow)


def of_organisers(method: str, path: str, **body: object) -> Route:
    return Route(Callers.ORGANISERS, method, f"/api/admin{path}", body)


def of_public(method: str, path: str) -> Route:
    return Route(Callers.PUBLIC, method, path)


ROUTES = {
    "health.live": of_public("GET", "/health"),
    "health.ready": of_public("GET", "/health/ready"),
    "openapi.spec": of_public("GET", "/openapi.json"),
    "docs.get_page": of_public("GET", "/docs"),
    "docs.get_start": of_public("GET", "/docs/start.js"),
    "docs.get_file": of_public("GET", "/docs/nothing"),
    "status.get_status": of_public("GET", "/api/v1/status"),
    "auth.post_registration": of_public("POST", "/api/v1/auth/register"),
    "auth.post_login": of_public("POST", "/api/v1/auth/login"),
    "casino.get_sheet": of_public("GET", "/api/v1/casino/sheets/0"),
    "pictures.get_picture": of_public("GET", "/api/v1/pictures/nothing"),
    "auth.post_logout": of_players("POST", "/auth/logout"),
    "account.get_account": of_players("GET", "/account"),
    "account.put_profile": of_players("PUT", "/account/profile"),
    "account.put_password": of_players("PUT", "/account/password", current_password="?", new_password="another one"),
    "pictures.put_picture": of_players("PUT", "/account/picture"),
    "pictures.delete_picture": of_players("DELETE", "/account/picture"),
    "limits.get_limits": of_players("GET", "/account/limits"),
    "limits.put_limits": of_players("PUT", "/account/limits"),
    "sessions.get_sessions": of_players("GET", "/account/sessions"),
    "sessions.delete_sessions": of_players("DELETE", "/account/sessions"),
    "sessions.delete_session": of_players("DELETE", "/account/sessions/{session}", another=404),
    "payments.get_transactions": of_players("GET", "/account/transactions"),
    "payments.get_search": of_players("GET", "/account/transactions/search", q="mill"),
    "payments.post_transaction": of_players("POST", "/transactions", to_account="{trinity}", amount=1),
    "directory.get_factions": of_players("GET", "/factions"),
    "directory.get_player": of_players("GET", "/players/lookup", account_number="{trinity}"),
    "charges.get_charges": of_players("GET", "/charges"),
    "charges.get_charge": of_players("GET", "/charges/{code}", another=404),
    "charges.post_approval": of_players("POST", "/charges/{code}/approve", another=404),
    "charges.post_refusal": of_players("POST", "/charges/{code}/decline", another=404),
    "casino.get_games": of_players("GET", "/casino/games"),
    "casino.post_glitch_grid_spin": of_players("POST", "/casino/glitch-grid/spin", bet_amount=10),
    "casino.post_starlight_smuggler_spin": of_players("POST", "/casino/starlight-smuggler/spin", bet_amount=5),
    "casino.get_rounds": of_players("GET", "/casino/rounds"),
    "casino.get_round": of_players("GET", "/casino/rounds/{round}", another=404),
    "casino.get_seed": of_players("GET", "/casino/seed"),
    "casino.post_seed": of_players("POST", "/casino/seed"),
    "external.post_transaction": of_keys(
        "POST", "/transactions", another=403, narrow=403, from_account="{trinity}", to_account="{bar}", amount=1
    ),
    "external.get_balance": of_keys("GET", "/account/{trinity}/balance", another=403, narrow=403),
    "external.post_charge": of_keys("POST", "/charges", amount=1),
    "external.get_charge": of_keys("GET", "/charges/{charge}", another=404),
    "external.delete_charge": of_keys("DELETE", "/charges/{charge}", another=404),
    "external.post_refund": of_keys("POST", "/charges/{charge}/refund", another=404),
    "api_keys.get_keys": of_organisers("GET", "/api-keys"),
    "api_keys.post_key": of_organisers("POST", "/api-keys", description="bar"),
    "api_keys.delete_key": of_organisers("DELETE", "/api-keys/{key}"),
    "admin_bank.get_audit_logs": of_organisers("GET", "/audit-logs"),
    "admin_bank.post_faction": of_organisers("POST", "/factions/create", name="Zion"),
    "admin_bank.get_factions": of_organisers("GET", "/factions/list"),
    "admin_bank.get_stats": of_organisers("GET", "/stats"),
    "admin_bank.get_switches": of_organisers("GET", "/switches"),
    "admin_bank.put_switches": of_organisers("PUT", "/switches", read_only=True),
    "admin_casino.get_config": of_organisers("GET", "/casino/config"),
    "admin_casino.put_config": of_organisers("PUT", "/casino/config/glitch_grid", is_enabled=False),
    "admin_casino.put_exclusion": of_organisers(
        "PUT", "/users/{trinity}/exclusion", until="2100-01-01T00:00:00Z", reason="Rest"
    ),
    "admin_lists.get_export": of_organisers("GET", "/users/export"),
    "admin_lists.post_import": of_organisers("POST", "/users/import"),
    "admin_money.get_transactions": of_organisers("GET", "/transactions"),
    "admin_money.post_reversal": of_organisers("POST", "/transactions/{transfer}/reverse", reason="A mistake"),
    "admin_money.post_adjustment": of_organisers("POST", "/users/{trinity}/adjust-balance", amount=1, reason="Found"),
    "admin_money.post_credits": of_organisers("POST", "/factions/None/add-credits", amount=1, reason="Supper"),
    "admin_users.get_search": of_organisers("GET", "/users/search", q="Trinity"),
    "admin_users.get_user": of_organisers("GET", "/users/{trinity}"),
    "admin_users.post_freeze": of_organisers("POST", "/users/{trinity}/freeze"),
    "admin_users.post_unfreeze": of_organisers("POST", "/users/{trinity}/unfreeze"),
    "admin_users.post_password": of_organisers("POST", "/users/{trinity}/reset-password", new_password="another one"),
    "admin_users.post_toggle": of_organisers("POST", "/users/{trinity}/toggle-admin"),
    "admin_users.delete_sessions": of_organisers("DELETE", "/users/{trinity}/sessions"),
}
STATE = text("""
    SELECT
        (SELECT string_agg(balances::text, ' ' ORDER BY account_id, shard) FROM balances),
        (SELECT string_agg(players::text, ' ' ORDER BY account_id) FROM players),
        (SELECT string_agg(accounts::text, ' ' ORDER BY id) FROM accounts),
        (SELECT string_agg(charges::text, ' ' ORDER BY id) FROM charges),
        (SELECT string_agg(api_keys::text, ' ' ORDER BY id) FROM api_keys),
        (SELECT string_agg(seeds::text, ' ' ORDER BY id) FROM seeds),
        (SELECT string_agg(games::text || switches::text, ' ' ORDER BY games.name) FROM games, switches),
        (SELECT string_agg(id::text, ' ' ORDER BY id) FROM sessions),
        (SELECT count(*) FROM transfers), (SELECT count(*) FROM audit_logs), (SELECT count(*) FROM factions),
        (SELECT count(*) FROM casino_players), (SELECT count(*) FROM idempotency_records)
""")


@dataclass(frozen=True)
class Scene:
    """The player Trinity, a bar with a pending charge for her, and their values in the paths."""

    client: FlaskClient
    owner: Engine
    bar: LoggedIn
    named: Mapping[str, object]

    def send(self, route: Route, headers: Mapping[str, str]) -> TestResponse:
        filled = {name: it.format(**self.named) if isinstance(it, str) else it for name, it in route.body.items()}
        fields = {"query_string": filled} if route.method == "GET" else {"json": filled}
        path = route.path.format(**self.named)
        return self.client.open(path, method=route.method, headers=dict(headers), **fields)  # type: ignore[arg-type]

    def refuses(self, endpoint: str, headers: Mapping[str, str], status: int) -> None:
        """Assert that a request gets this status, discloses nothing and changes nothing."""
        before = self.state()
        answer = self.send(ROUTES[endpoint], headers)
        assert answer.status_code == status, (endpoint, answer.status_code, answer.text)
        assert answer.content_type == "application/problem+json", endpoint
        self.discloses_nothing(endpoint, answer)
        assert self.state() == before, endpoint

    def discloses_nothing(self, endpoint: str, answer: TestResponse) -> None:
        disclosed = answer.text.lower()
        assert SECRET not in disclosed, endpoint
        assert str(self.named["balance"]) not in disclosed, endpoint
        assert str(self.named["code"]).lower() not in disclosed, endpoint

    def state(self) -> object:
        with self.owner.connect() as connection:
            return connection.execute(STATE).one()


@pytest.fixture
def scene(client: FlaskClient, owner: Engine, player: Join, terminal: NewTerminal) -> Scene:
    trinity, bar = player("Trinity"), player("Bar")
    trinity.headers["User-Agent"] = SECRET
    login = {"character_name": "Trinity", "password": "password of Trinity"}
    client.post("/api/v1/auth/login", json=login, headers={"User-Agent": SECRET})
    session = trinity.send("GET", "/account/sessions").get_json()["sessions"][0]["id"]
    paid = trinity.pay(bar.number, 0.37, memo=SECRET).get_json()
    till = terminal(account=bar.number, description=SECRET)
    charge = till.send("POST", "/charges", amount=3, player=trinity.number, memo=SECRET).get_json()
    named = {
        "trinity": trinity.number,
        "bar": bar.number,
        "session": session,
        "transfer": paid["transaction"]["id"],
        "key": till.id,
        "charge": charge["id"],
        "code": charge["code"],
        "round": played(trinity, GLITCH, 10)["round"],
        "balance": trinity.balance(),
    }
    return Scene(client, owner, bar, named)


def test_the_table_contains_every_route(app: Flask) -> None:
    rules = {rule.endpoint: rule for rule in app.url_map.iter_rules() if rule.endpoint != "static"}
    assert set(rules) == set(ROUTES)
    adapter = app.url_map.bind("bank")
    for endpoint, route in ROUTES.items():
        path = route.path.format(trinity="NC-0", bar="NC-0", session=1, transfer=1, key=1, charge=1, code="0", round=1)
        assert adapter.match(path, method=route.method)[0] == endpoint
        owned = {"session", "charge", "code", "round"} & set(rules[endpoint].arguments) or "{code}" in route.path
        assert (route.another is not None) >= bool(owned), endpoint


def routes(*callers: Callers) -> list[str]:
    return [endpoint for endpoint, route in ROUTES.items() if route.callers in callers]


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Authorization": "Bearer "},
        {"Authorization": "Bearer " + "A" * 43},
        {"Authorization": "Basic VHJpbml0eTo="},
        {"X-API-Key": "nbk_" + "A" * 43},
        {"Authorization": "Bearer \u00e9", "X-API-Key": "\u00e9"},
    ],
    ids=str,
)
def test_a_request_without_valid_credentials_is_rejected(scene: Scene, headers: dict[str, str]) -> None:
    for endpoint in routes(Callers.PLAYERS, Callers.ORGANISERS, Callers.KEYS):
        scene.refuses(endpoint, headers, 401)


def test_a_public_route_needs_no_credentials(scene: Scene) -> None:
    for endpoint in routes(Callers.PUBLIC):
        answer = scene.send(ROUTES[endpoint], {})
        assert answer.status_code in {200, 400, 404}, endpoint
        scene.discloses_nothing(endpoint, answer)


def test_a_key_does_not_work_as_a_token_nor_a_token_as_a_key(scene: Scene, terminal: NewTerminal) -> None:
    till = terminal(account=scene.bar.number, scope="debit")
    for endpoint in routes(Callers.PLAYERS, Callers.ORGANISERS):
        scene.refuses(endpoint, {"X-API-Key": till.key}, 401)
    for endpoint in routes(Callers.KEYS):
        scene.refuses(endpoint, scene.bar.headers, 401)


def test_a_player_cannot_use_what_another_player_owns(scene: Scene, player: Join) -> None:
    smith = player("Smith")
    for endpoint in routes(Callers.PLAYERS):
        another = ROUTES[endpoint].another
        if another is not None:
            scene.refuses(endpoint, smith.headers, another)
        elif ROUTES[endpoint].method == "GET":
            answer = scene.send(ROUTES[endpoint], smith.headers)
            assert answer.status_code == 200, endpoint
            scene.discloses_nothing(endpoint, answer)


def test_a_player_cannot_use_the_organisers_routes(scene: Scene, player: Join) -> None:
    smith = player("Smith")
    for endpoint in routes(Callers.ORGANISERS):
        scene.refuses(endpoint, smith.headers, 403)


@pytest.mark.parametrize("scope", ["charge", "pay"])
def test_a_vendor_s_key_cannot_use_what_another_vendor_owns(
    scene: Scene, player: Join, terminal: NewTerminal, scope: str
) -> None:
    key = {"X-API-Key": terminal(account=player("Club").number, scope=scope).key}
    for endpoint in routes(Callers.KEYS):
        another = ROUTES[endpoint].another
        if another is not None:
            scene.refuses(endpoint, key, another)


def test_a_key_that_may_only_request_payments_moves_and_reads_nothing(scene: Scene, terminal: NewTerminal) -> None:
    key = {"X-API-Key": terminal(account=scene.bar.number, scope="charge").key}
    refused = {endpoint: ROUTES[endpoint].narrow for endpoint in routes(Callers.KEYS) if ROUTES[endpoint].narrow}
    assert refused
    for endpoint, status in refused.items():
        assert status is not None
        scene.refuses(endpoint, key, status)


def test_a_frozen_account_is_rejected_by_every_route(
    scene: Scene, player: Join, organiser: LoggedIn, terminal: NewTerminal
) -> None:
    smith = player("Smith")
    till = terminal(account=smith.number, scope="debit")
    assert (
        scene.client.post(f"/api/admin/users/{smith.number}/toggle-admin", headers=organiser.headers).status_code == 200
    )
    assert scene.client.post(f"/api/admin/users/{smith.number}/freeze", headers=organiser.headers).status_code == 200
    for endpoint in routes(Callers.PLAYERS, Callers.ORGANISERS):
        scene.refuses(endpoint, smith.headers, 401)
    for endpoint in routes(Callers.KEYS):
        scene.refuses(endpoint, {"X-API-Key": till.key}, 403)


def test_a_one_time_password_only_permits_changing_it(scene: Scene, organiser: LoggedIn) -> None:
    """The caller is an organiser: their one-time password is known to another person as well."""
    with scene.owner.begin() as connection:
        connection.execute(text("UPDATE players SET must_change_password = is_admin"))
    for endpoint in routes(Callers.PLAYERS, Callers.ORGANISERS):
        scene.refuses(endpoint, organiser.headers, 401 if endpoint == "account.put_password" else 403)


@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "DELETE", "PATCH"])
def test_an_unsupported_method_changes_nothing(scene: Scene, app: Flask, organiser: LoggedIn, method: str) -> None:
    """The caller is an organiser, who has all permissions."""
    taken: dict[str, set[str]] = {}
    for rule in app.url_map.iter_rules():
        taken.setdefault(rule.rule, set()).update(rule.methods or ())
    rules = {rule.endpoint: rule.rule for rule in app.url_map.iter_rules()}
    before = scene.state()
    for endpoint, route in ROUTES.items():
        if method not in taken[rules[endpoint]]:
            path = route.path.format(**scene.named)
            assert scene.client.open(path, method=method, json={}, headers=organiser.headers).status_code in {404, 405}
    assert scene.state() == before
