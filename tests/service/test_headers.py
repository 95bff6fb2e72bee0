"""What every answer tells a browser, whatever became of the request; and pages of which origins may ask."""

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
    """Let a view meet a defect of the bank's own."""
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
def test_every_answer_has_the_headers(client: FlaskClient, status: int) -> None:
    answer = ANSWERS[status](client)
    assert answer.status_code == status
    assert {name: answer.headers[name] for name in HEADERS} == HEADERS
    assert not [name for name, _ in answer.headers if name.startswith("Access-Control")]
    assert "Set-Cookie" not in answer.headers


def test_a_mistake_of_the_bank_s_own_tells_nothing_of_its_inside(client: FlaskClient) -> None:
    answer = mistaken(client)
    assert answer.content_type == "application/problem+json"
    assert "ZeroDivision" not in answer.text
    assert "Traceback" not in answer.text


def test_nothing_may_run_or_frame_or_be_submitted() -> None:
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
        (1, "https, http", False),  # the nearest proxy's word counts
        (2, "https", True),
    ],
)
def test_https_is_demanded_where_a_trusted_proxy_says_it_is_there(
    settings: ServingSettings, proxies: int, forwarded: str | None, *, sent: bool
) -> None:
    client = create_app(replace(settings, trusted_proxies=proxies)).test_client()
    answer = client.get("/health", headers={"X-Forwarded-Proto": forwarded} if forwarded else {})
    assert answer.headers.get("Strict-Transport-Security") == (HSTS if sent else None)


@pytest.fixture
def shared(settings: ServingSettings, app: Flask) -> FlaskClient:
    del app
    return create_app(replace(settings, cors_origins=frozenset({PANEL}))).test_client()


def ask(client: FlaskClient, origin: str, method: str = "PUT") -> TestResponse:
    return client.options(
        "/api/v1/account/profile", headers={"Origin": origin, "Access-Control-Request-Method": method}
    )


def test_a_configured_page_may_ask_and_read(shared: FlaskClient, player: Join) -> None:
    allowed = ask(shared, PANEL)
    assert allowed.status_code == 200
    assert allowed.headers["Access-Control-Allow-Origin"] == PANEL
    assert "PUT" in allowed.headers["Access-Control-Allow-Methods"]
    assert {"Authorization", "Idempotency-Key"} <= set(allowed.headers["Access-Control-Allow-Headers"].split(", "))
    answer = shared.get("/api/v1/account", headers=player("Neo").headers | {"Origin": PANEL})
    assert (answer.status_code, answer.headers["Access-Control-Allow-Origin"]) == (200, PANEL)


@pytest.mark.parametrize("path", ["/api/v1/account", "/nowhere"])
def test_an_error_can_be_read_too(shared: FlaskClient, path: str) -> None:
    assert shared.get(path, headers={"Origin": PANEL}).headers["Access-Control-Allow-Origin"] == PANEL


@pytest.mark.parametrize(
    "origin",
    ["https://evil.example", "null", "", "http://panel.example.org", PANEL + ":8443", PANEL + ".evil.example"],
)
def test_no_other_page_may(shared: FlaskClient, origin: str) -> None:
    for answer in (ask(shared, origin), shared.get("/health", headers={"Origin": origin})):
        assert not [name for name, _ in answer.headers if name.startswith("Access-Control")]
        assert "Origin" in answer.vary


def test_no_page_is_ever_allowed_credentials_or_every_origin(shared: FlaskClient) -> None:
    for answer in (ask(shared, PANEL), shared.get("/health", headers={"Origin": PANEL})):
        assert "Access-Control-Allow-Credentials" not in answer.headers
        assert "*" not in answer.headers["Access-Control-Allow-Origin"]


@pytest.mark.parametrize("method", ["TRACE", "PATCH", "PROPFIND", "DELETE"])
def test_another_method_is_refused_with_those_that_there_are(client: FlaskClient, method: str) -> None:
    answer = client.open("/api/v1/transactions", method=method)
    assert (answer.status_code, answer.content_type) == (405, "application/problem+json")
    assert set(answer.headers["Allow"].split(", ")) == {"POST", "OPTIONS"}


def test_head_is_get_without_a_body(client: FlaskClient) -> None:
    answer = client.head("/health")
    assert (answer.status_code, answer.data) == (200, b"")
