"""Schemathesis sends valid and invalid requests of the OpenAPI document, and runs all of its checks on the responses.

The seed is fixed, so that a failed run can be repeated. `make soak` generates more requests, with other seeds.
"""

import hashlib
import hmac
import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from threading import Thread
from typing import Final
from wsgiref.types import StartResponse, WSGIEnvironment

import pytest
import schemathesis
from flask import Flask
from flask.testing import FlaskClient
from schemathesis.config import SchemathesisConfig
from schemathesis.engine import events, from_schema
from schemathesis.engine.recorder import ScenarioRecorder
from sqlalchemy import Engine, text
from werkzeug.serving import WSGIRequestHandler, make_server

from tests.service.support import SECRET_KEY, Join, LoggedIn, NewTerminal

SEED: Final = 20_261_123
EXAMPLES: Final = 10
"""The number of requests per operation, in addition to those that cover each field."""

TOKEN: Final = "the token that every request is sent with"
PAYER, RECEIVER = "NC-7Q2M-K4ZD", "NC-9XTR-3B5H"
"""The accounts of the document's examples."""

ACTORS: Final = {
    "player": r"^/(health|api/v1/(?!external/))",
    "vendor": r"^/api/v1/external/",
    "organiser": r"^/api/admin/",
}
"""The caller of each path; test_access.py tests other callers."""

REFUSED: Final[dict[str, str]] = {
    "POST /api/v1/auth/register": "the name is taken or unprintable, the password common, or the faction unknown",
    "PUT /api/v1/account/password": "the new password is common or the current one",
    "PUT /api/v1/account/profile": "the faction is unknown, or the picture no emoji",
    "GET /api/v1/account/transactions/search": "the search text is blank",
    "GET /api/v1/players/lookup": "both parameters are given, or neither",
    "POST /api/v1/transactions": "the account is unknown or the payer's own, or the balance too low",
    "POST /api/v1/charges/{code}/approve": "the balance is too low",
    "POST /api/v1/casino/glitch-grid/spin": "the balance is too low",
    "POST /api/v1/casino/starlight-smuggler/spin": "the balance is too low",
    "PUT /api/v1/account/limits": "a limit is both set and removed, or the time of the exclusion is invalid",
    "POST /api/v1/external/transactions": "the account is unknown, or the balance too low",
    "POST /api/v1/external/charges": "the player is unknown or the vendor",
    "POST /api/v1/external/charges/{charge_id}/refund": "the amount is more than was paid, or the balance too low",
    "POST /api/admin/api-keys": "the account is unknown, or the expiry in the past",
    "PUT /api/admin/switches": "the event code is missing or too short",
    "PUT /api/admin/users/{number}/exclusion": "the reason is blank, or the time of the exclusion invalid",
    "POST /api/admin/users/import": "the body is not a valid list of players",
    "GET /api/admin/users/search": "the search text is blank",
    "POST /api/admin/users/{number}/reset-password": "the password is common",
    "POST /api/admin/users/{number}/adjust-balance": "the reason is blank, or the balance too low",
    "POST /api/admin/transactions/{transaction_id}/reverse": "the reason is blank, or the balance too low",
    "POST /api/admin/factions/create": "the name is taken or unprintable",
    "POST /api/admin/factions/{name}/add-credits": "the reason is blank",
}
"""The operations that may reject a request that is valid by the document, for a reason that it can not express."""

CANCELLED: Final = "GET /api/v1/external/charges/{charge_id}"
"""A DELETE cancels a charge, and the terminal can still read it."""

RESET: Final = text("""
    INSERT INTO sessions (token_hash, account_id, expires_at)
    SELECT :token_hash, id, now() + interval '1 day' FROM accounts WHERE number = :number
    ON CONFLICT (token_hash) DO NOTHING;
    DELETE FROM idempotency_records;
    UPDATE switches SET read_only = false, registration = 'open' WHERE read_only OR registration <> 'open';
    UPDATE api_keys SET revoked_at = NULL WHERE revoked_at IS NOT NULL;
    UPDATE accounts SET frozen = false WHERE frozen;
    UPDATE players SET must_change_password = false WHERE must_change_password;
    UPDATE games SET is_enabled = true WHERE NOT is_enabled;
    UPDATE casino_players SET excluded_until = NULL, daily_loss_limit = NULL, pending_limit = NULL, pending_from = NULL
    WHERE excluded_until IS NOT NULL OR daily_loss_limit IS NOT NULL OR pending_from IS NOT NULL;
    UPDATE players SET is_admin = true FROM accounts WHERE account_id = id AND number = :organiser AND NOT is_admin;
""")


@dataclass(frozen=True)
class Resetting:
    """The application. Sessions, switches and accounts are reset before each request, so that none affects the next."""

    app: Flask
    owner: Engine
    number: str
    organiser: str
    key: str

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        token_hash = hmac.digest(SECRET_KEY, TOKEN.encode(), hashlib.sha256)
        with self.owner.begin() as connection:
            values = {"token_hash": token_hash, "number": self.number, "organiser": self.organiser}
            connection.execute(RESET, values)
        return self.app(environ, start_response)


@dataclass
class Findings:
    """The failures of a run, and the statuses of each operation's responses."""

    failures: list[str] = field(default_factory=list)
    statuses: dict[str, set[int]] = field(default_factory=lambda: defaultdict(set))

    def add(self, event: events.EngineEvent) -> None:
        match event:
            case events.ScenarioFinished():
                self._add_scenario(event.label, event.recorder)
            case events.NonFatalError():
                self.failures.append(f"{event.label}: {event.value!r}")
            case events.FatalError():
                self.failures.append(repr(event.exception))

    def _add_scenario(self, label: str | None, recorder: ScenarioRecorder) -> None:
        for interaction in recorder.interactions.values():
            if label and interaction.response is not None:
                self.statuses[label].add(interaction.response.status_code)
        for case_id, checks in recorder.checks.items():
            for check in checks:
                if check.failure_info is not None:
                    found, response = check.failure_info, recorder.interactions[case_id].response
                    answer = "no answer" if response is None else f"{response.status_code} {response.text[:300]}"
                    why = f"{found.failure.title}: {found.failure.message}"
                    self.failures.append(f"{label} {check.name}: {why}\n  {found.code_sample}\n  -> {answer}")


class Quiet(WSGIRequestHandler):
    def log(self, *_: object) -> None:
        """Do not log requests."""


@schemathesis.serializer("text/csv")
def csv(_: object, value: object) -> bytes:
    return (value if isinstance(value, str) else repr(value)).encode()


@contextmanager
def served(app: Resetting) -> Iterator[str]:
    server = make_server("127.0.0.1", 0, app, threaded=True, request_handler=Quiet)
    thread = Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def run(app: Resetting, paths: str, *, seed: int = SEED, examples: int = EXAMPLES) -> Findings:
    """Generate requests to the paths that match a pattern, and check the responses."""
    accepted = {"expected-statuses": ["2xx", "400", "401", "403", "404", "409"]}
    operations: list[dict[str, object]] = [
        {"include-name": name, "checks": {"positive_data_acceptance": accepted}} for name in REFUSED
    ]
    operations.append({"include-name": CANCELLED, "checks": {"use_after_free": {"enabled": False}}})
    operations.append({"exclude-path-regex": paths, "enabled": False})
    config = SchemathesisConfig.from_dict(
        {
            "seed": seed,
            "cache": {"enabled": False},
            "output": {"sanitization": {"enabled": False}},
            "generation": {"max-examples": examples, "database": "none"},
            "phases": {
                "coverage": {"generate-duplicate-query-parameters": True},
                "stateful": {"max-steps": 5, "generation": {"max-examples": examples}},
            },
            "auth": {"openapi": {"BearerAuth": {"bearer": TOKEN}, "ApiKeyAuth": {"api_key": app.key}}},
            "operations": operations,
        }
    )
    findings = Findings()
    with served(app) as address:
        schema = schemathesis.openapi.from_url(f"{address}/openapi.json", config=config)
        schema.validate()
        for event in from_schema(schema).execute():
            findings.add(event)
    return findings


@pytest.fixture
def resetting(
    app: Flask,
    owner: Engine,
    player: Join,
    organiser: LoggedIn,
    terminal: NewTerminal,
) -> Callable[[str], Resetting]:
    """Return the application for an actor, with the accounts of the document's examples."""
    renamed = text("UPDATE accounts SET number = :number WHERE name = :name")
    for name, number in (("Payer", PAYER), ("Receiver", RECEIVER)):
        player(name)
        with owner.begin() as connection:
            connection.execute(renamed, {"name": name, "number": number})
    key = terminal(scope="debit", account=PAYER).key

    def ready(actor: str) -> Resetting:
        number = organiser.number if actor == "organiser" else PAYER
        return Resetting(app, owner, number, organiser.number, key)

    return ready


def test_every_path_has_one_actor(client: FlaskClient) -> None:
    document = client.get("/openapi.json").get_json()
    for path in document["paths"]:
        assert sum(bool(re.search(paths, path)) for paths in ACTORS.values()) == 1, path


def test_the_exceptions_name_existing_operations(client: FlaskClient) -> None:
    paths = client.get("/openapi.json").get_json()["paths"]
    assert {*REFUSED, CANCELLED} <= {
        f"{method.upper()} {path}" for path, operations in paths.items() for method in operations
    }


# Hypothesis warns when it prints a large example.
@pytest.mark.filterwarnings("ignore:Generating overly large repr")
@pytest.mark.usefixtures("books")
@pytest.mark.parametrize("actor", ACTORS)
def test_responses_conform_to_the_document(resetting: Callable[[str], Resetting], actor: str) -> None:
    findings = run(resetting(actor), ACTORS[actor])
    assert not findings.failures, "\n\n".join(findings.failures)
    assert findings.statuses
    assert not [operation for operation, statuses in findings.statuses.items() if min(statuses) >= 300]


@pytest.mark.soak
@pytest.mark.timeout(3600)
@pytest.mark.filterwarnings("ignore:Generating overly large repr")
@pytest.mark.usefixtures("books")
@pytest.mark.parametrize("actor", ACTORS)
@pytest.mark.parametrize("seed", range(5))
def test_responses_conform_to_the_document_for_other_seeds(
    resetting: Callable[[str], Resetting], actor: str, seed: int
) -> None:
    findings = run(resetting(actor), ACTORS[actor], seed=seed, examples=100)
    assert not findings.failures, "\n\n".join(findings.failures)
