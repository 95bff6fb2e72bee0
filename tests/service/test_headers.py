"""Security headers of every response, and the origins whose pages may send requests (CORS)."""

from collections.abc import Callable
from dataclasses import replace
from unittest.mock import patch

import pytest
from flask import Flask
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from neobank.application import create_app
from neobank.settings import ServingSettings
from neobank.web.headers import HEADERS, HSTS
from tests.service.support import Join

PANEL = "https://panel.example.org"
POLICY = "Content-Security-Policy"


def mistaken(client: FlaskClient) -> TestResponse:
    """Send a request whose view raises an unexpected exception."""
    with patch("neobank.switches.routes.read_switches", side_effect=ZeroDivisionError):
        return client.get("/api/v1/status")


ANSWERS: dict[int, Callable[[FlaskClient], TestResponse]] = {
    200: lambda client: client.get("/health"),
    400: lambda client: client.post("/api/v1/auth/register", json={}),
    401: lambda client: client.get("/api/v1/account"),
    404: lambda client: client.get("/nowhere"),
    405: lambda client: client.delete("/api/v1/transactions"),
    413: lambda client: client.post("/api/v1/auth/login", data=b" " * 70_000, content_type="application/json"),
    415: lambda client: client.post("/api/v1/auth/login", data="x", content_type="text/plain"),
    500: mistaken,
}


@pytest.mark.parametrize("status", ANSWERS)
def test_every_response_has_the_security_headers(client: FlaskClient, status: int) -> None:
    answer = ANSWERS[status](client)
    assert answer.status_code == status
    assert {name: answer.headers[name] for name in HEADERS} == HEADERS
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert answer.headers["X-Frame-Options"] == "DENY"
    assert answer.headers["Referrer-Policy"] == "no-referrer"
    assert answer.headers["Cache-Control"] == "no-store"
    assert not [name for name, _ in answer.headers if name.startswith("Access-Control")]
    assert "Set-Cookie" not in answer.headers


def test_an_internal_error_discloses_no_details(client: FlaskClient) -> None:
    answer = mistaken(client)
    assert answer.content_type == "application/problem+json"
    assert "ZeroDivision" not in answer.text
    assert "Traceback" not in answer.text


def test_the_policy_forbids_scripts_frames_and_forms() -> None:
    directives = dict(part.split(" ", 1) for part in HEADERS[POLICY].split("; "))
    assert directives == dict.fromkeys(["default-src", "base-uri", "form-action", "frame-ancestors"], "'none'")


@pytest.mark.parametrize(
    ("proxies", "forwarded", "sent"),
    [
        (0, None, False),
        (0, "https", False),  # a forged header
        (1, None, False),
        (1, "http", False),
        (1, "https", True),
        (1, "https, http", False),  # the header of the nearest proxy counts
        (2, "https", True),
    ],
)
def test_hsts_is_sent_if_a_trusted_proxy_reports_https(
    settings: ServingSettings, proxies: int, forwarded: str | None, *, sent: bool
) -> None:
    client = create_app(replace(settings, trusted_proxies=proxies)).test_client()
    answer = client.get("/health", headers={"X-Forwarded-Proto": forwarded} if forwarded else {})
    assert answer.headers.get("Strict-Transport-Security") == (HSTS if sent else None)


@pytest.fixture
def shared(settings: ServingSettings, app: Flask) -> FlaskClient:
    del app
    return create_app(replace(settings, cors_origins=frozenset({PANEL}))).test_client()


def preflight(client: FlaskClient, origin: str, method: str = "PUT") -> TestResponse:
    return client.options(
        "/api/v1/account/profile", headers={"Origin": origin, "Access-Control-Request-Method": method}
    )


def test_a_page_of_a_configured_origin_may_send_requests_and_read_responses(shared: FlaskClient, player: Join) -> None:
    allowed = preflight(shared, PANEL)
    assert allowed.status_code == 200
    assert allowed.headers["Access-Control-Allow-Origin"] == PANEL
    assert "PUT" in allowed.headers["Access-Control-Allow-Methods"]
    assert {"Authorization", "Idempotency-Key"} <= set(allowed.headers["Access-Control-Allow-Headers"].split(", "))
    answer = shared.get("/api/v1/account", headers=player("Neo").headers | {"Origin": PANEL})
    assert (answer.status_code, answer.headers["Access-Control-Allow-Origin"]) == (200, PANEL)


@pytest.mark.parametrize("path", ["/api/v1/account", "/nowhere"])
def test_a_page_of_a_configured_origin_may_read_errors(shared: FlaskClient, path: str) -> None:
    assert shared.get(path, headers={"Origin": PANEL}).headers["Access-Control-Allow-Origin"] == PANEL


@pytest.mark.parametrize(
    "origin",
    ["https://evil.example", "null", "", "http://panel.example.org", PANEL + ":8443", PANEL + ".evil.example"],
)
def test_a_page_of_any_other_origin_may_not(shared: FlaskClient, origin: str) -> None:
    for answer in (preflight(shared, origin), shared.get("/health", headers={"Origin": origin})):
        assert not [name for name, _ in answer.headers if name.startswith("Access-Control")]
        assert "Origin" in answer.vary


def test_neither_credentials_nor_all_origins_are_ever_allowed(shared: FlaskClient) -> None:
    for answer in (preflight(shared, PANEL), shared.get("/health", headers={"Origin": PANEL})):
        assert "Access-Control-Allow-Credentials" not in answer.headers
        assert "*" not in answer.headers["Access-Control-Allow-Origin"]


@pytest.mark.parametrize("method", ["TRACE", "PATCH", "PROPFIND", "DELETE"])
def test_an_unsupported_method_is_rejected_with_the_allowed_ones(client: FlaskClient, method: str) -> None:
    answer = client.open("/api/v1/transactions", method=method)
    assert (answer.status_code, answer.content_type) == (405, "application/problem+json")
    assert set(answer.headers["Allow"].split(", ")) == {"POST", "OPTIONS"}


def test_head_returns_no_body(client: FlaskClient) -> None:
    answer = client.head("/health")
    assert (answer.status_code, answer.data) == (200, b"")
