"""The log of the service behind gunicorn: JSON only, one line per request, and no secrets."""

import csv
import io
import json
import socket
import urllib.error
import urllib.request
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from neobank.application import create_app
from neobank.settings import ServingSettings, UpgradeSettings
from tests.service import faulty
from tests.service.serving import Served, gunicorn
from tests.service.support import ADMINISTRATOR, SECRET_KEY, Database

SECRETS = {
    "password": "a-password-that-registers",
    "wrong password": "a-password-that-is-wrong",
    "short password": "short!1",
    "new password": "a-password-that-replaces",
    "password set by an organiser": "a-password-for-one-time",
    "event code": "a-code-for-the-event",
    "memo": "a-memo-of-a-payment",
    "word in a query": "a-word-in-a-query",
    "word in a path": "a-word-in-a-path",
    "idempotency key": "a-key-for-one-time",
    "invalid token": "an-invalid-token",
    "malformed header": "a-header-without-colon",
    "malformed request line": "a-request-line-of-two",
    "forged request id": "a forged id",
    "exception": "hidden-in-an-exception",
    "SECRET_KEY": SECRET_KEY.decode(),
}


@dataclass(frozen=True)
class Line:
    """A line of the log."""

    text: str
    fields: dict[str, object]


@dataclass
class Session:
    """Requests with secrets and malformed requests; `secrets` also collects the secrets that responses contain."""

    served: Served
    secrets: dict[str, str]

    def send(
        self, method: str, path: str, body: object = None, token: str = "", **headers: str
    ) -> tuple[int, str, str]:
        """Send a request; return status, body and request id, whatever the status."""
        fields = {"Content-Type": "application/json", **{name.replace("_", "-"): it for name, it in headers.items()}}
        if token:
            fields["Authorization"] = f"Bearer {token}"
        data = body.encode() if isinstance(body, str) else None if body is None else json.dumps(body).encode()
        url = self.served.bank.address + path
        request = urllib.request.Request(url, data, fields, method=method)  # noqa: S310  # loopback
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:  # noqa: S310
                return answer.status, answer.read().decode(), answer.headers["X-Request-ID"]
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read().decode(), error.headers["X-Request-ID"]

    def log_in(self, name: str, password: str) -> str:
        status, body, _ = self.send("POST", "/api/v1/auth/login", {"character_name": name, "password": password})
        assert status == 200, body
        token: str = json.loads(body)["access_token"]
        self.secrets[f"token of {name} {len(self.secrets)}"] = token
        return token

    def send_raw(self, raw: str) -> None:
        """Send raw bytes, and wait until the server closes the connection."""
        with socket.create_connection(("127.0.0.1", self.served.port), timeout=60) as connection:
            connection.sendall(raw.encode())
            while connection.recv(65536):
                pass


def send_as_players(session: Session) -> None:
    s = session.secrets
    who = {"character_name": "Neo", "password": s["password"]}
    session.send("POST", "/api/v1/auth/register", {**who, "password": s["short password"], "code": s["event code"]})
    assert session.send("POST", "/api/v1/auth/register", {**who, "code": s["event code"]})[0] == 201
    assert session.send("POST", "/api/v1/auth/login", {**who, "password": s["wrong password"]})[0] == 401
    session.send("POST", "/api/v1/auth/login", f'{{"password": "{s["wrong password"]}"')
    session.send("POST", "/api/v1/auth/login", {"password": [s["wrong password"]], s["wrong password"]: 1})
    token = session.log_in("Neo", s["password"])
    change = {"current_password": s["password"], "new_password": s["new password"]}
    wrong = {**change, "current_password": s["wrong password"]}
    assert session.send("PUT", "/api/v1/account/password", wrong, token)[0] == 401
    assert session.send("PUT", "/api/v1/account/password", change, token)[0] == 200
    payment = {"to_account": "NC-CASA-0000", "amount": 1.5, "memo": s["memo"]}
    paid = session.send("POST", "/api/v1/transactions", payment, token, Idempotency_Key=s["idempotency key"])
    assert paid[0] == 201, paid
    session.send("GET", f"/api/v1/account/transactions/search?q={s['word in a query']}", token=token)
    session.send("GET", f"/api/v1/{s['word in a path']}?token={token}", token=token)
    session.send("GET", f"/api/v1/charges/{s['word in a path']}", token=token)
    session.send("GET", "/api/v1/account", token=s["invalid token"])
    session.send("GET", "/health", X_Request_ID=s["forged request id"])


def send_as_organisers(session: Session) -> None:
    s = session.secrets
    assert isinstance(ADMINISTRATOR.password, str)
    token = session.log_in(ADMINISTRATOR.name, ADMINISTRATOR.password)
    _, created, _ = session.send("POST", "/api/admin/api-keys", {"description": "bar", "scope": "pay"}, token)
    key = json.loads(created)["key"]
    s["vendor key"] = key
    bought = {"from_account": "NC-0000-0000", "to_account": "NC-CASA-0000", "amount": 1}
    session.send("POST", "/api/v1/external/transactions", bought, X_API_Key=key)
    session.send("POST", "/api/v1/external/transactions", bought, X_API_Key=key + "x")
    status, imported, _ = session.send(
        "POST", "/api/admin/users/import", "name\nTrinity\n", token, Content_Type="text/csv"
    )
    assert status in {200, 201}, imported
    _, (_, number, s["imported password"]) = csv.reader(io.StringIO(imported, newline=""))
    reset = {"new_password": s["password set by an organiser"]}
    assert session.send("POST", f"/api/admin/users/{number}/reset-password", reset, token)[0] == 200
    session.send("PUT", "/api/admin/switches", {"registration": "code", "event_code": s["event code"]}, token)
    session.send("PUT", "/api/admin/switches", {"registration": "open"}, token)


def send_malformed(session: Session) -> None:
    s = session.secrets
    session.send_raw(f"GET / HTTP/1.1\r\nHost: bank\r\nX-API-Key {s['malformed header']}\r\n\r\n")
    session.send_raw(f"GET / HTTP/1.1\r\nHost: bank\r\nX-API-Key {s['malformed header']} : 1\r\n\r\n")
    session.send_raw(f"GET /?{s['malformed request line']}\r\n\r\n")
    session.send_raw(f"GET /?{s['malformed request line']} HTTP/9.{s['malformed request line']}\r\n\r\n")
    session.send_raw(f"{s['malformed request line']}~\\ / HTTP/1.1\r\n\r\n")
    session.send_raw(f"GET /fault/body?{s['word in a query']} HTTP/1.1\r\nHost: bank\r\nConnection: close\r\n\r\n")


@pytest.fixture(scope="module")
def sent(database: Database, fresh_for_all: UpgradeSettings, tmp_path_factory: pytest.TempPathFactory) -> Session:
    """Send all requests to a server with the log level debug, and stop the server."""
    del fresh_for_all
    log = tmp_path_factory.mktemp("logs") / "gunicorn.log"
    with gunicorn(
        database.url("application"),
        log,
        application="tests.service.faulty:create_app()",
        LOG_LEVEL="debug",
        TRUSTED_PROXIES="1",
    ) as served:
        session = Session(served, {**SECRETS, "database password": database.url("application").password or ""})
        send_as_players(session)
        send_as_organisers(session)
        send_malformed(session)
        for fault in ("mistake", "outage"):
            status, body, request_id = session.send("GET", f"/fault/{fault}", token=session.secrets["invalid token"])
            assert (fault, status) in {("mistake", 500), ("outage", 503)}, body
            assert (request_id in json.loads(body)["detail"]) == (fault == "mistake")
            assert SECRETS["exception"] not in body
    return session


@pytest.fixture(scope="module")
def lines(sent: Session) -> list[Line]:
    return [Line(text, json.loads(text)) for text in sent.served.log.read_text().splitlines()]


def test_the_log_contains_no_secret(sent: Session, lines: list[Line]) -> None:
    found = {(name, line.text) for name, secret in sent.secrets.items() for line in lines if secret in line.text}
    assert found == set()
    assert {"vendor key", "imported password", "database password"} < sent.secrets.keys()
    assert all(len(secret) > 5 for secret in sent.secrets.values())


def test_every_line_has_the_same_leading_fields(lines: list[Line]) -> None:
    assert {"gunicorn.error", "neobank.monitoring.requests", "neobank.web.errors"} <= {
        str(line.fields["logger"]) for line in lines
    }
    for line in lines:
        assert list(line.fields)[:4] == ["time", "level", "logger", "message"]
        assert datetime.fromisoformat(str(line.fields["time"])).tzinfo == UTC
        assert line.fields["level"] in {"debug", "info", "warning", "error", "critical"}


def requests(lines: list[Line]) -> list[dict[str, object]]:
    return [line.fields for line in lines if "status" in line.fields]


def test_a_request_has_one_line_with_its_route_status_time_and_account(lines: list[Line]) -> None:
    seen = requests(lines)
    ids = [str(line["request_id"]) for line in seen]
    assert len(set(ids)) == len(ids)
    [paid] = [line for line in seen if (line["route"], line["status"]) == ("/api/v1/transactions", 201)]
    assert paid.keys() == {
        *("time", "level", "logger", "message", "request_id"),
        *("method", "route", "status", "duration_ms", "account"),
    }
    assert (paid["method"], paid["level"]) == ("POST", "info")
    assert str(paid["account"]).startswith("NC-")
    assert 0 < float(str(paid["duration_ms"])) < 60_000
    routes = {(line["route"], line["status"]) for line in seen}
    assert {("unmatched", 404), ("/api/v1/charges/<code>", 404), ("/api/v1/auth/login", 401)} <= routes
    assert {line["level"] for line in seen if line["route"] == "/health/ready" and line["status"] == 200} == {"debug"}
    proven = {str(line["route"]) for line in seen if line["status"] == 401 and "account" in line}
    assert proven == {"/api/v1/account/password"}  # a valid token and a wrong password


def test_an_unexpected_exception_is_logged_by_type_and_location(lines: list[Line]) -> None:
    [mistake] = [line.fields for line in lines if line.fields["message"] == "Unhandled exception in a request."]
    [answer] = [line for line in requests(lines) if line["route"] == "/fault/mistake"]
    assert mistake["request_id"] == answer["request_id"]
    assert (mistake["level"], answer["level"]) == ("error", "warning")
    assert isinstance(mistake["exceptions"], list)
    assert [link["type"] for link in mistake["exceptions"]] == ["builtins.RuntimeError", "builtins.ValueError"]
    assert str(mistake["exceptions"][0]["frames"][-1]).startswith(f"{faulty.__name__}:")
    [outage] = [line.fields for line in lines if line.fields["logger"] == "neobank.web.errors"]
    assert str(outage["message"]).endswith(': missing "=" after (a URL)')


def test_requests_that_the_server_rejects_are_logged_and_not_quoted(lines: list[Line]) -> None:
    malformed = [line.fields for line in lines if line.fields["logger"] == "neobank.serving.worker"]
    assert len(malformed) == 5
    assert {str(line["message"]) for line in malformed} == {"A request was malformed: Bad Request."}
    [fault] = [line.fields for line in lines if line.fields["message"] == "Error in ASGI application"]
    assert "exceptions" in fault


@pytest.mark.parametrize(
    ("proxies", "given", "kept"),
    [
        (0, "0123456789abcdef", False),
        (1, "0123456789abcdef", True),
        (1, "6f1c1b0e-2d1f-4f63-8f1e-0d9b7f1f4f3a", True),
        (1, "", False),
        (1, "short", False),
        (1, "x" * 65, False),
        (1, "0123456789abcdef\u00e9", False),
        (1, "0123456789abcdef ", False),
        (1, '0123456789"}{"level', False),
        (1, "-0123456789abcdef", False),
    ],
)
def test_a_request_id_is_accepted_only_from_a_trusted_proxy(
    settings: ServingSettings, proxies: int, given: str, *, kept: bool
) -> None:
    client = create_app(replace(settings, trusted_proxies=proxies)).test_client()
    answers = [client.get("/nowhere", headers={"X-Request-ID": given}).headers["X-Request-ID"] for _ in range(2)]
    assert (answers == [given, given]) == kept
    assert kept or len(set(answers)) == 2


def test_only_lines_of_the_configured_level_and_above_are_logged(
    database: Database, upgraded: UpgradeSettings, tmp_path: Path
) -> None:
    del upgraded
    with gunicorn(database.url("application"), tmp_path / "log", LOG_LEVEL="warning") as served:
        assert served.bank.call("/nowhere")[0] == 404
    lines = [json.loads(line) for line in served.log.read_text().splitlines()]
    assert {line["level"] for line in lines} <= {"warning", "error"}
    assert [line["message"] for line in lines if "RATE LIMITS ARE OFF" in line["message"]]
