"""The log of a real gunicorn: JSON only, one line a request, and nothing in it that was secret."""

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
    "password that organisers set": "a-password-for-one-time",
    "event code": "a-code-for-the-event",
    "memo": "a-memo-nobody-reads",
    "word in a query": "a-word-in-a-query",
    "word in a path": "a-word-in-a-path",
    "idempotency key": "a-key-for-one-time",
    "token that is none": "a-token-that-is-none",
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
class Talk:
    """Everything that a client can say wrong or in confidence; what it was told in confidence is kept, too."""

    served: Served
    secrets: dict[str, str]

    def send(
        self, method: str, path: str, body: object = None, token: str = "", **headers: str
    ) -> tuple[int, str, str]:
        """Give status, body and request id, whatever the status."""
        sent = {"Content-Type": "application/json", **{name.replace("_", "-"): it for name, it in headers.items()}}
        if token:
            sent["Authorization"] = f"Bearer {token}"
        data = body.encode() if isinstance(body, str) else None if body is None else json.dumps(body).encode()
        url = self.served.bank.address + path
        request = urllib.request.Request(url, data, sent, method=method)  # noqa: S310  # loopback
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

    def say(self, raw: str) -> None:
        """Send what is no HTTP, and wait for the answer."""
        with socket.create_connection(("127.0.0.1", self.served.port), timeout=60) as connection:
            connection.sendall(raw.encode())
            while connection.recv(65536):
                pass


def talk_of_players(talk: Talk) -> None:
    s = talk.secrets
    who = {"character_name": "Neo", "password": s["password"]}
    talk.send("POST", "/api/v1/auth/register", {**who, "password": s["short password"], "code": s["event code"]})
    assert talk.send("POST", "/api/v1/auth/register", {**who, "code": s["event code"]})[0] == 201
    assert talk.send("POST", "/api/v1/auth/login", {**who, "password": s["wrong password"]})[0] == 401
    talk.send("POST", "/api/v1/auth/login", f'{{"password": "{s["wrong password"]}"')
    talk.send("POST", "/api/v1/auth/login", {"password": [s["wrong password"]], s["wrong password"]: 1})
    token = talk.log_in("Neo", s["password"])
    change = {"current_password": s["password"], "new_password": s["new password"]}
    assert talk.send("PUT", "/api/v1/account/password", {**change, "current_password": s["wrong password"]}, token)[0]
    assert talk.send("PUT", "/api/v1/account/password", change, token)[0] == 200
    payment = {"to_account": "NC-CASA-0000", "amount": 1.5, "memo": s["memo"]}
    paid = talk.send("POST", "/api/v1/transactions", payment, token, Idempotency_Key=s["idempotency key"])
    assert paid[0] == 201, paid
    talk.send("GET", f"/api/v1/account/transactions/search?q={s['word in a query']}", token=token)
    talk.send("GET", f"/api/v1/{s['word in a path']}?token={token}", token=token)
    talk.send("GET", f"/api/v1/charges/{s['word in a path']}", token=token)
    talk.send("GET", "/api/v1/account", token=s["token that is none"])
    talk.send("GET", "/health", X_Request_ID=s["forged request id"])


def talk_of_organisers(talk: Talk) -> None:
    s = talk.secrets
    assert isinstance(ADMINISTRATOR.password, str)
    token = talk.log_in(ADMINISTRATOR.name, ADMINISTRATOR.password)
    key = json.loads(talk.send("POST", "/api/admin/api-keys", {"description": "bar", "scope": "pay"}, token)[1])["key"]
    s["vendor key"] = key
    bought = {"from_account": "NC-0000-0000", "to_account": "NC-CASA-0000", "amount": 1}
    talk.send("POST", "/api/v1/external/transactions", bought, X_API_Key=key)
    talk.send("POST", "/api/v1/external/transactions", bought, X_API_Key=key + "x")
    status, imported, _ = talk.send(
        "POST", "/api/admin/users/import", "name\nTrinity\n", token, Content_Type="text/csv"
    )
    assert status in {200, 201}, imported
    s["imported password"] = imported.splitlines()[1].split(",")[2]
    number = imported.splitlines()[1].split(",")[1]
    reset = {"new_password": s["password that organisers set"]}
    assert talk.send("POST", f"/api/admin/users/{number}/reset-password", reset, token)[0] == 200
    talk.send("PUT", "/api/admin/switches", {"registration": "code", "event_code": s["event code"]}, token)
    talk.send("PUT", "/api/admin/switches", {"registration": "open"}, token)


def talk_nonsense(talk: Talk) -> None:
    s = talk.secrets
    talk.say(f"GET / HTTP/1.1\r\nHost: bank\r\nX-API-Key {s['malformed header']}\r\n\r\n")
    talk.say(f"GET / HTTP/1.1\r\nHost: bank\r\nX-API-Key {s['malformed header']} : 1\r\n\r\n")
    talk.say(f"GET /?{s['malformed request line']}\r\n\r\n")
    talk.say(f"GET /?{s['malformed request line']} HTTP/9.{s['malformed request line']}\r\n\r\n")
    talk.say(f"{s['malformed request line']}~\\ / HTTP/1.1\r\n\r\n")
    talk.say(f"GET /fault/body?{s['word in a query']} HTTP/1.1\r\nHost: bank\r\nConnection: close\r\n\r\n")


@pytest.fixture(scope="module")
def told(database: Database, upgraded: UpgradeSettings, tmp_path_factory: pytest.TempPathFactory) -> Talk:
    """All of it said to one server, which has been told to log as much as it can; then the server is stopped."""
    del upgraded
    log = tmp_path_factory.mktemp("logs") / "gunicorn.log"
    with gunicorn(
        database.url("application"),
        log,
        application="tests.service.faulty:create_app()",
        LOG_LEVEL="debug",
        TRUSTED_PROXIES="1",
    ) as served:
        talk = Talk(served, {**SECRETS, "database password": database.url("application").password or ""})
        talk_of_players(talk)
        talk_of_organisers(talk)
        talk_nonsense(talk)
        for fault in ("mistake", "outage"):
            status, body, request_id = talk.send("GET", f"/fault/{fault}", token=talk.secrets["token that is none"])
            assert (fault, status) in {("mistake", 500), ("outage", 503)}, body
            assert (request_id in json.loads(body)["detail"]) == (fault == "mistake")
            assert SECRETS["exception"] not in body
    return talk


@pytest.fixture(scope="module")
def lines(told: Talk) -> list[Line]:
    return [Line(text, json.loads(text)) for text in told.served.log.read_text().splitlines()]


def test_nothing_secret_is_in_the_log(told: Talk, lines: list[Line]) -> None:
    found = {(name, line.text) for name, secret in told.secrets.items() for line in lines if secret in line.text}
    assert found == set()
    assert {"vendor key", "imported password", "database password"} < told.secrets.keys()
    assert all(len(secret) > 5 for secret in told.secrets.values())


def test_every_line_has_the_same_shape(lines: list[Line]) -> None:
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
    assert proven == {"/api/v1/account/password"}  # a token that is good, and a password that is not


def test_what_nobody_foresaw_is_told_by_type_and_place(lines: list[Line]) -> None:
    [mistake] = [line.fields for line in lines if line.fields["message"] == "The bank made a mistake."]
    [answer] = [line for line in requests(lines) if line["route"] == "/fault/mistake"]
    assert mistake["request_id"] == answer["request_id"]
    assert (mistake["level"], answer["level"]) == ("error", "warning")
    assert isinstance(mistake["exceptions"], list)
    assert [link["type"] for link in mistake["exceptions"]] == ["builtins.RuntimeError", "builtins.ValueError"]
    assert str(mistake["exceptions"][0]["frames"][-1]).startswith(f"{faulty.__name__}:")
    [outage] = [line.fields for line in lines if line.fields["logger"] == "neobank.web.errors"]
    assert outage["message"] == 'The database did not answer: missing "=" after (a URL)'


def test_what_gunicorn_refuses_is_named_and_not_quoted(lines: list[Line]) -> None:
    said = {str(line.fields["message"]) for line in lines if line.fields["logger"] == "gunicorn.error"}
    assert {
        "Invalid request from ip=127.0.0.1: Invalid HTTP Header",
        "Invalid request from ip=127.0.0.1: Invalid HTTP request line",
        "Error handling request",
    } <= said


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
def test_a_request_id_is_a_proxys_word_only_where_one_is_trusted(
    settings: ServingSettings, proxies: int, given: str, *, kept: bool
) -> None:
    client = create_app(replace(settings, trusted_proxies=proxies)).test_client()
    answers = [client.get("/nowhere", headers={"X-Request-ID": given}).headers["X-Request-ID"] for _ in range(2)]
    assert (answers == [given, given]) == kept
    assert kept or len(set(answers)) == 2


def test_lines_are_heard_from_the_level_that_was_asked_for(
    database: Database, upgraded: UpgradeSettings, tmp_path: Path
) -> None:
    del upgraded
    with gunicorn(database.url("application"), tmp_path / "log", LOG_LEVEL="warning") as served:
        assert served.bank.call("/nowhere")[0] == 404
    lines = [json.loads(line) for line in served.log.read_text().splitlines()]
    assert {line["level"] for line in lines} <= {"warning", "error"}
    assert [line["message"] for line in lines if "RATE LIMITS ARE OFF" in line["message"]]
